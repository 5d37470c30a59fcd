"""Samples and segments: what every layout yields, and everything that is derived from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

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
class Sample:
    """One image of a data set. Segments are read when asked for, so that iterating costs no memory."""

    id: str
    """Stable and unique within the data set."""
    image: str
    """Path below the data set's root, POSIX style."""
    read_segments: Callable[[], tuple[Segment, ...]]
    """Reads and decodes the annotation; raises DataError if it is damaged."""
    files: tuple[str, ...] = ()
    """Other files below the root that belong to this image alone, as its mask."""


def segment_of(mask_HW: np.ndarray, category: int, *, is_thing: bool = True, is_crowd: bool = False) -> Segment:
    """Encode a bool mask."""
    rle = coco_mask.encode(np.asfortranarray(mask_HW.astype(np.uint8)))
    return Segment(category=category, rle=rle, is_thing=is_thing, is_crowd=is_crowd)


def mask_of(segment: Segment) -> np.ndarray:
    """Decode to bool HxW."""
    return coco_mask.decode(segment.rle).astype(bool)


def union_mask(segments: Sequence[Segment], shape: tuple[int, int], wanted: Collection[int] | None = None) -> np.ndarray:
    """Union of all non-crowd segments of the wanted categories (None: all), bool HxW.

    Raises:
        DataError: the segments' size is not `shape` (height, width).
    """
    _check_size(segments, shape)
    chosen = [s for s in segments if not s.is_crowd and (wanted is None or s.category in wanted)]
    if not chosen:
        return np.zeros(shape, dtype=bool)
    return coco_mask.decode(coco_mask.merge([s.rle for s in chosen])).astype(bool)


def label_map(segments: Sequence[Segment], shape: tuple[int, int]) -> np.ndarray:
    """Semantic labels, uint8 HxW: 0 where there is no segment, 255 on crowds; later segments lie on top."""
    _check_size(segments, shape)
    labels = np.zeros(shape, dtype=np.uint8)
    for segment in segments:
        labels[mask_of(segment)] = IGNORE_INDEX if segment.is_crowd else segment.category
    return labels


def _check_size(segments: Sequence[Segment], shape: tuple[int, int]) -> None:
    for segment in segments:
        height, width = segment.rle["size"]  # type: ignore[misc]  # RLE values are untyped
        if (height, width) != shape:
            raise DataError(f"the mask is {width}x{height} but the image {shape[1]}x{shape[0]}; give masks of the image's size")


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


def test_ids(ids: Sequence[str], share: float) -> frozenset[str]:
    """The share of ids that is kept for testing: those with the smallest sha256, at least one.

    Depends on the ids alone, so that a copy of a data set is split like the original.
    """
    ranked = sorted(ids, key=lambda one: hashlib.sha256(one.encode()).digest())
    return frozenset(ranked[: max(1, round(share * len(ranked)))])
