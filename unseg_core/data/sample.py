"""Samples and segments: what every layout yields, and everything that is derived from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pycocotools import mask as coco_mask

from unseg_core.errors import DataError, ParameterError

IGNORE_INDEX = 255


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One object or region of one class."""

    category: int
    """1, 2, ...: the position in the layout's list of classes."""
    rle: dict[str, object]
    """Compressed COCO RLE with `size` [height, width]."""
    is_thing: bool = True
    is_crowd: bool = False


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """All segments of one image."""

    height: int
    width: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image of a data set. Its annotation is read when asked for, so that iterating costs no memory."""

    id: str
    """Stable and unique within the data set."""
    image: str
    """Path below the data set's root, POSIX style."""
    read_annotation: Callable[[], Annotation]
    """Reads and decodes the annotation; raises DataError if it is damaged."""
    files: tuple[str, ...] = ()
    """Other files below the root that belong to this image alone, as its mask."""


def segment_of(mask_HW: np.ndarray, category: int, *, is_thing: bool = True, is_crowd: bool = False) -> Segment:
    """Encode a bool mask."""
    rle = coco_mask.encode(np.asfortranarray(mask_HW.astype(np.uint8)))
    return Segment(category=category, rle=rle, is_thing=is_thing, is_crowd=is_crowd)


def mask_of(segment: Segment) -> np.ndarray:
    """Decode to bool HxW."""
    mask: np.ndarray = coco_mask.decode(segment.rle).astype(bool)
    return mask


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is to be protected in one image: the wanted segments, without crowds."""

    height: int
    width: int
    segments: tuple[Segment, ...]

    @cached_property
    def mask(self) -> np.ndarray:
        """Their union, bool HxW."""
        if not self.segments:
            return np.zeros((self.height, self.width), dtype=bool)
        union: np.ndarray = coco_mask.decode(coco_mask.merge([s.rle for s in self.segments])).astype(bool)
        return union

    @cached_property
    def labels(self) -> np.ndarray:
        """Their categories, uint16 HxW, 0 elsewhere; later segments lie on top."""
        labels = np.zeros((self.height, self.width), dtype=np.uint16)
        for segment in self.segments:
            labels[mask_of(segment)] = segment.category
        return labels


def select_target(annotation: Annotation, targets: str, classes: Sequence[str]) -> Target:
    """The segments that `targets` names: `all`, `things`, or class names separated by commas.

    Raises:
        ParameterError: a name is not one of `classes`.
    """
    wanted = wanted_categories(targets, classes)
    chosen = tuple(
        s
        for s in annotation.segments
        if not s.is_crowd and (s.is_thing or targets != "things") and (wanted is None or s.category in wanted)
    )
    return Target(height=annotation.height, width=annotation.width, segments=chosen)


def target_of(mask_HW: np.ndarray) -> Target:
    """A bool mask as the only thing to protect."""
    return Target(height=mask_HW.shape[0], width=mask_HW.shape[1], segments=(segment_of(mask_HW, 1),))


def union_mask(annotation: Annotation) -> np.ndarray:
    """Union of all non-crowd segments, bool HxW."""
    return select_target(annotation, "all", ()).mask


def label_map(annotation: Annotation) -> np.ndarray:
    """Semantic labels, uint8 HxW: 0 where there is no segment, 255 on crowds; later segments lie on top."""
    labels = np.zeros((annotation.height, annotation.width), dtype=np.uint8)
    for segment in annotation.segments:
        labels[mask_of(segment)] = IGNORE_INDEX if segment.is_crowd else segment.category
    return labels


def annotation_for(sample: Sample, pixels_HWC: np.ndarray) -> Annotation:
    """The annotation of a sample whose image has been decoded.

    Raises:
        DataError: it is damaged, or not of the image's size; the message names the image.
    """
    height, width = pixels_HWC.shape[:2]
    try:
        annotation = sample.read_annotation()
    except DataError as error:
        raise DataError(f"{sample.image}: {error}") from None
    if (annotation.height, annotation.width) != (height, width):
        found = f"{annotation.width}x{annotation.height} but the image {width}x{height}"
        raise DataError(f"{sample.image}: the mask is {found}; give masks of the image's size")
    return annotation


def wanted_categories(targets: str, classes: Sequence[str]) -> frozenset[int] | None:
    """Categories named by `targets`: None for `all` and `things`, else the ids of the names.

    Raises:
        ParameterError: a name is not one of `classes`.
    """
    if targets in ("all", "things"):
        return None
    names = [name.strip() for name in targets.split(",")]
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise ParameterError(f"targets: {', '.join(map(repr, unknown))} is no class; known: {', '.join(classes)}")
    return frozenset(classes.index(name) + 1 for name in names)


def held_ids(ids: Sequence[str], share: float) -> frozenset[str]:
    """The share of ids that is kept for testing: those with the smallest sha256, at least one.

    Depends on the ids alone, so that a copy of a data set is split like the original.
    """
    ranked = sorted(ids, key=lambda one: hashlib.sha256(one.encode()).digest())
    return frozenset(ranked[: max(1, round(share * len(ranked)))])
