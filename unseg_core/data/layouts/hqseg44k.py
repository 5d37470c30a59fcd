"""HQSeg-44K as its authors publish it: seven sets of image and mask pairs to train on, four to validate on.

Ke et al., "Segment Anything in High Quality", NeurIPS 2023. Images are JPEG, masks PNG of the same name; in the parts
that come from CascadePSP both lie in one folder. Every mask is of one class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from unseg_core import storage
from unseg_core.data.layouts.pairs import read_pair
from unseg_core.data.sample import Sample
from unseg_core.errors import DataError, ParameterError

CLASSES = ("object",)
IMAGE_EXTENSIONS = (".jpg", ".jpeg")
MASK_EXTENSION = ".png"
SPLITS = ("train", "val")


@dataclass(frozen=True, kw_only=True)
class Subset:
    """One of the sets."""

    name: str
    """What its ids begin with."""
    images: str
    """Folder below the root."""
    masks: str
    split: str
    count: int
    """Pairs, as published."""

    @property
    def short_name(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def part(self) -> str:
        """The archive that it comes in, without extension."""
        return self.images.partition("/")[0]


def _cascade_psp(name: str, count: int) -> Subset:
    folder = f"cascade_psp/{name}"
    return Subset(name=folder, images=folder, masks=folder, split="train", count=count)


def _pair(name: str, images: str, masks: str, split: str, count: int) -> Subset:
    return Subset(name=name, images=f"{name}/{images}", masks=f"{name}/{masks}", split=split, count=count)


SUBSETS = (
    _pair("DIS5K/DIS-TR", "im", "gt", "train", 3000),
    _pair("thin_object_detection/ThinObject5K", "images_train", "masks_train", "train", 4748),
    _cascade_psp("fss_all", 10_000),
    _cascade_psp("DUTS-TR", 10_553),
    _cascade_psp("DUTS-TE", 5019),
    _cascade_psp("ecssd", 1000),
    _cascade_psp("MSRA_10K", 10_000),
    _pair("DIS5K/DIS-VD", "im", "gt", "val", 470),
    _pair("thin_object_detection/COIFT", "images", "masks", "val", 280),
    _pair("thin_object_detection/HRSOD", "images", "masks_max255", "val", 287),
    Subset(
        # Another name than the training set's, because the two may share names of files.
        name="thin_object_detection/ThinObject5K-TE",
        images="thin_object_detection/ThinObject5K/images_test",
        masks="thin_object_detection/ThinObject5K/masks_test",
        split="val",
        count=500,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Hqseg44kLayout:
    """Subsets that are there; each is listed when it is reached."""

    root: str
    subsets: tuple[Subset, ...]
    name: str = "hqseg"
    classes: tuple[str, ...] = CLASSES
    class_ids: tuple[int, ...] = (1,)

    def samples(self) -> Iterator[Sample]:
        for subset in self.subsets:
            masks = files_of(self.root, subset.masks, (MASK_EXTENSION,))
            for stem, image in files_of(self.root, subset.images, IMAGE_EXTENSIONS).items():
                mask = masks.get(stem)
                location = None if mask is None else storage.join(self.root, mask)
                read = partial(read_pair, image, location, classes=len(self.classes))
                own = () if mask is None else (mask,)
                yield Sample(id=f"{subset.name}/{stem}", image=image, read_annotation=read, files=own)

    def orphans(self) -> list[str]:
        """Masks without an image."""
        found = []
        for subset in self.subsets:
            images = files_of(self.root, subset.images, IMAGE_EXTENSIONS)
            masks = files_of(self.root, subset.masks, (MASK_EXTENSION,))
            found += [mask for stem, mask in masks.items() if stem not in images]
        return found


def open_hqseg44k(root: str, *, split: str | None = None) -> Hqseg44kLayout:
    """Open the data set, or as many of its subsets as there are.

    Args:
        root: folder or URL that holds DIS5K/, cascade_psp/ and thin_object_detection/, or one of them.
        split: "train", "val", or the last part of one subset's name, such as "COIFT"; None takes all.

    Raises:
        ParameterError: there is no such split.
        DataError: none of its subsets is there.
    """
    wanted = [subset for subset in SUBSETS if split in (None, subset.split, subset.short_name)]
    if not wanted:
        known = (*SPLITS, *(subset.short_name for subset in SUBSETS))
        raise ParameterError(f"{root} has no split {split!r}; it has {', '.join(known)}")
    subsets = tuple(subset for subset in wanted if _is_there(root, subset))
    if not subsets:
        names = ", ".join(subset.images for subset in wanted)
        raise DataError(f"{root} holds none of these sets of HQSeg-44K: {names}; check the path")
    return Hqseg44kLayout(root=root, subsets=subsets)


def is_hqseg44k(root: str) -> bool:
    """True if one of the subsets is there."""
    parts = {subset.part for subset in SUBSETS}
    there = {part for part in parts if storage.is_folder(storage.join(root, part))}
    return any(subset.part in there and _is_there(root, subset) for subset in SUBSETS)


def _is_there(root: str, subset: Subset) -> bool:
    """True if its two folders are."""
    return all(storage.is_folder(storage.join(root, folder)) for folder in (subset.images, subset.masks))


def files_of(root: str, folder: str, extensions: Sequence[str]) -> dict[str, str]:
    """Stem to path below the root of the files right in `folder` that have one of `extensions`, in order of the names.

    Raises:
        DataError: two of them share a stem.
    """
    found: dict[str, str] = {}
    for name in storage.list_files(storage.join(root, folder)):
        pure = PurePosixPath(name)
        if len(pure.parts) > 1 or pure.suffix.lower() not in extensions or name.startswith("."):
            continue
        if pure.stem in found:
            raise DataError(
                f"{storage.join(root, folder)}: {found[pure.stem]} and {name} have the same stem; rename one"
            )
        found[pure.stem] = f"{folder}/{name}"
    return found
