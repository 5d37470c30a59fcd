"""ADE20K scene parsing benchmark (Zhou et al., CVPR 2017): images/SPLIT/NAME.jpg and annotations/SPLIT/NAME.png."""

from __future__ import annotations

from functools import partial

from unseg_core import storage
from unseg_core.data.layouts.ade20k_classes import CLASSES, STUFF
from unseg_core.data.layouts.layout import Kind, Layout, Request, below, first_base
from unseg_core.data.layouts.pairs import PairsLayout, by_stem, labelled_only, read_label_map
from unseg_core.data.layouts.splits import in_folder
from unseg_core.errors import DataError

BASES = ("", "ADEChallengeData2016")
SPLITS = ("training", "validation")
THINGS = frozenset(number for number, name in enumerate(CLASSES, start=1) if name not in STUFF)


def open_ade20k(request: Request) -> Layout:
    root, base = request.root, _base(request.root)
    if base is None:
        raise DataError(f"{root} has no images/training/ beside annotations/training/; give ADEChallengeData2016")
    images_folder = storage.join(root, below(base, "images"))
    images = by_stem(images_folder, storage.list_files(images_folder))
    masks_folder = storage.join(root, below(base, "annotations"))
    masks = by_stem(masks_folder, storage.list_files(masks_folder), (".png",))
    chosen = in_folder(root, request.split, labelled_only(images, masks), masks)
    classes = request.classes or CLASSES
    things = THINGS if classes == CLASSES else None
    return PairsLayout(
        name="ade20k",
        root=root,
        classes=classes,
        images={one: below(base, f"images/{path}") for one, path in chosen.images.items()},
        masks_folder=masks_folder,
        masks=chosen.masks,
        own_masks=below(base, "annotations"),
        read=partial(read_label_map, classes=len(classes), ignored=0, things=things),
    )


def _base(root: str) -> str | None:
    found = (first_base(root, BASES, f"images/{split}", f"annotations/{split}") for split in SPLITS)
    return next((base for base in found if base is not None), None)


ADE20K = Kind(
    open=open_ade20k,
    detect=lambda root: _base(root) is not None,
    description="ADEChallengeData2016: images/ and annotations/ of training/ and validation/; label 0 is ignored; "
    "other classes than ADE20K's with --classes",
    options=frozenset({"classes"}),
)
