"""WHU building (Ji et al., TGRS 2019), as in RSPrompter: imgs/SPLIT/image/NAME.tif and imgs/SPLIT/label/NAME.tif."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from unseg_core import storage
from unseg_core.data.layouts.layout import Kind, Layout, Request, below, first_base
from unseg_core.data.layouts.pairs import PairsLayout, by_stem, labelled_only, read_pair
from unseg_core.data.layouts.splits import in_folder
from unseg_core.errors import DataError

BASES = ("imgs", "")
SPLITS = ("train", "val", "test")
CLASSES = ("building",)


def open_whu(request: Request) -> Layout:
    root, base = request.root, _base(request.root)
    if base is None:
        raise DataError(f"{root} has no imgs/train/image/ beside imgs/train/label/; this layout keeps its images there")
    folder = storage.join(root, base) if base else root
    found = by_stem(folder, storage.list_files(folder))
    images, masks = _of(found.items(), "image"), _of(found.items(), "label")
    chosen = in_folder(root, request.split, labelled_only(images, masks), masks)
    classes = request.classes or CLASSES
    return PairsLayout(
        name="whu",
        root=root,
        classes=classes,
        images={one: below(base, path) for one, path in chosen.images.items()},
        masks_folder=folder,
        masks=chosen.masks,
        own_masks=base,
        read=partial(read_pair, classes=len(classes)),
    )


def _of(found: Iterable[tuple[str, str]], folder: str) -> dict[str, str]:
    """Files SPLIT/folder/NAME by SPLIT/NAME."""
    parts = ((stem.split("/"), path) for stem, path in found)
    return {f"{part[0]}/{part[2]}": path for part, path in parts if len(part) == 3 and part[1] == folder}


def _base(root: str) -> str | None:
    found = (first_base(root, BASES, f"{split}/image", f"{split}/label") for split in SPLITS)
    return next((base for base in found if base is not None), None)


WHU = Kind(
    open=open_whu,
    detect=lambda root: _base(root) is not None,
    description="imgs/{train,val,test}/{image,label}/NAME.tif, as RSPrompter has the WHU building data set",
    options=frozenset({"classes"}),
)
