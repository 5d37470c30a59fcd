"""Pairs of an image and a mask of the same stem: HQSeg-44K's im/ + gt/, Kvasir's and others' images/ + masks/.

A mask is binary where the data set has one class, and a map of class numbers (0 background, 255 ignore) otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from unseg_core import storage
from unseg_core.data.sample import IGNORE_INDEX, Annotation, Sample, segment_of
from unseg_core.errors import DataError
from unseg_core.images import EXTENSIONS, decode_label_map

BINARY_THRESHOLD = 127


@dataclass(frozen=True, kw_only=True)
class Naming:
    """Folder names of a layout; images may also lie in the root itself where `flat` is set."""

    images: str
    masks: str
    flat: bool = False


HQSEG = Naming(images="im", masks="gt")
FOLDER = Naming(images="images", masks="masks", flat=True)


@dataclass(frozen=True, kw_only=True)
class PairsLayout:
    root: str
    classes: tuple[str, ...]
    images: dict[str, str]
    """id -> image path below the root, in order."""
    masks_folder: str
    """Path or URL."""
    masks: dict[str, str]
    """id -> mask path below the masks' folder."""
    own_masks: str | None
    """The masks' folder below the root; None if it lies elsewhere."""

    def samples(self) -> Iterator[Sample]:
        for one, image in self.images.items():
            path = self.masks.get(one)
            mask = None if path is None else storage.join(self.masks_folder, path)
            own = (f"{self.own_masks}/{path}",) if path is not None and self.own_masks else ()
            read = partial(read_pair, image, mask, len(self.classes))
            yield Sample(id=one, image=image, read_annotation=read, files=own)

    def orphans(self) -> list[str]:
        return [storage.join(self.masks_folder, mask) for one, mask in self.masks.items() if one not in self.images]


def open_pairs(root: str, *, classes: tuple[str, ...], masks: str | None, naming: Naming) -> PairsLayout:
    """List images and masks.

    Raises:
        DataError: a folder is missing, there are no images, or two files share a stem.
    """
    images_folder = _images_folder(root, naming)
    masks_folder = masks or storage.join(root, naming.masks)
    if not storage.is_folder(masks_folder):
        raise DataError(f"{masks_folder} is not a folder; name the folder of the masks (--masks)")
    prefix = f"{images_folder}/" if images_folder else ""
    mask_files = _by_stem(masks_folder)
    within = {storage.join(masks_folder, path) for path in mask_files.values()}
    found = _by_stem(storage.join(root, images_folder) if images_folder else root, without=within)
    if not found:
        raise DataError(f"{storage.join(root, images_folder)} holds no image ({', '.join(EXTENSIONS)})")
    return PairsLayout(
        root=root,
        classes=classes,
        images={stem: prefix + path for stem, path in found.items()},
        masks_folder=masks_folder,
        masks=mask_files,
        own_masks=None if masks else naming.masks,
    )


def _images_folder(root: str, naming: Naming) -> str:
    if storage.is_folder(storage.join(root, naming.images)):
        return naming.images
    if naming.flat:
        return ""
    raise DataError(f"{root} has no folder {naming.images!r}; this layout keeps its images there")


def _by_stem(folder: str, without: Collection[str] = ()) -> dict[str, str]:
    """Image files below a folder by their path without extension, but for those in `without` (full locations)."""
    found: dict[str, str] = {}
    for path in storage.list_files(folder):
        pure = PurePosixPath(path)
        if pure.suffix.lower() not in EXTENSIONS or storage.join(folder, path) in without:
            continue
        stem = pure.with_suffix("").as_posix()
        if stem in found:
            raise DataError(f"{folder}: {found[stem]} and {path} have the same name but for the extension; rename one")
        found[stem] = path
    return found


def read_pair(image: str, mask: str | None, classes: int) -> Annotation:
    """One mask file: a segment per class that occurs.

    Raises:
        DataError: the mask is missing, damaged, or holds values that are no class.
    """
    if mask is None:
        raise DataError(f"{image} has no mask; add one with the same name")
    values, lossless = decode_label_map(storage.read_file(mask), mask)
    height, width = values.shape
    if classes == 1:
        foreground = _binary(values, lossless, mask)
        only = (segment_of(foreground, 1),) if foreground.any() else ()
        return Annotation(height=height, width=width, segments=only)
    present = [int(v) for v in np.unique(values)]
    wrong = [v for v in present if v > classes and v != IGNORE_INDEX]
    if wrong:
        raise DataError(f"{mask} has the values {wrong}; there are {classes} classes, 0 is background and 255 ignore")
    segments = tuple(segment_of(values == v, v, is_crowd=v == IGNORE_INDEX) for v in present if v)
    return Annotation(height=height, width=width, segments=segments)


def _binary(values: np.ndarray, lossless: bool, mask: str) -> np.ndarray:
    """Foreground of a binary mask: 0/255 (above 127, also from JPEG), or exactly one other value as 0/1 masks have."""
    present = np.unique(values)
    nonzero = present[present > 0]
    if lossless and nonzero.size == 1:
        return values > 0
    if lossless and nonzero.size > 1 and nonzero.max() <= BINARY_THRESHOLD:
        raise DataError(
            f"{mask} has the values {nonzero[:8].tolist()} and none above 127; name the classes if these are labels"
        )
    return values > BINARY_THRESHOLD
