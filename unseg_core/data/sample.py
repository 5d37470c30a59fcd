"""Samples and segments: what every layout yields, and everything that is derived from them."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pycocotools import mask as coco_mask

from unseg_core.errors import DataError, ParameterError

IGNORE_INDEX = 255
NAMED = 30
"""A message lists all classes up to this number, and of more the most similar."""


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


def ignored_segment(rles: Sequence[dict[str, object]]) -> tuple[Segment, ...]:
    """One crowd of no class for what is without label, from its parts; none without parts."""
    if not rles:
        return ()
    whole = rles[0] if len(rles) == 1 else coco_mask.merge(list(rles))
    return (Segment(category=IGNORE_INDEX, rle=whole, is_thing=False, is_crowd=True),)


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
    """Semantic labels, uint8 HxW: 0 where there is no segment, 255 on crowds; later segments lie on top.

    Raises:
        DataError: a category does not fit.
    """
    largest = max((s.category for s in annotation.segments if not s.is_crowd), default=0)
    if largest >= IGNORE_INDEX:
        raise DataError(f"category {largest} does not fit into label maps of 8 bits; choose fewer classes")
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
        message = str(error)
        raise DataError(message if sample.image in message else f"{sample.image}: {message}") from None
    if (annotation.height, annotation.width) != (height, width):
        found = f"{annotation.width}x{annotation.height} but the image {width}x{height}"
        is_turned = (annotation.width, annotation.height) == (height, width)
        hint = ", as it is stored: its EXIF orientation is not applied" if is_turned else ""
        raise DataError(f"{sample.image}: the mask is {found}{hint}; give masks of the image's size")
    return annotation


def wanted_categories(
    targets: str, classes: Sequence[str], class_ids: Sequence[int] | None = None
) -> frozenset[int] | None:
    """Categories named by `targets`: None for `all` and `things`, else those of the names.

    Args:
        class_ids: the data set's own numbers of the classes, which may stand for names; None: names only.

    Raises:
        ParameterError: a name is not one of `classes`, nor a number of `class_ids`.
    """
    if targets in ("all", "things"):
        return None
    by_name = {str(number): position for position, number in enumerate(class_ids or (), start=1)}
    by_name |= {name: position for position, name in enumerate(classes, start=1)}
    names = split_names(targets, classes)
    unknown = [name for name in names if name not in by_name]
    if unknown:
        close = difflib.get_close_matches(unknown[0], classes, n=5, cutoff=0.3)
        known = classes if len(classes) <= NAMED else [*(close or classes[:5]), f"... ({len(classes)} in all)"]
        raise ParameterError(f"targets: {', '.join(map(repr, unknown))} is no class; known: {', '.join(known)}")
    return frozenset(by_name[name] for name in names)


def resolve_targets(targets: str, classes: Sequence[str], class_ids: Sequence[int]) -> str:
    """`targets` with the data set's own class numbers replaced by names, as settings and manifests have them.

    Raises:
        ParameterError: a name is not one of `classes`, nor a number of `class_ids`.
    """
    wanted = wanted_categories(targets, classes, class_ids)
    return targets if wanted is None else ",".join(classes[category - 1] for category in sorted(wanted))


def split_names(text: str, classes: Sequence[str]) -> list[str]:
    """Names separated by commas, where a class name may itself hold commas: the longest that is a class is taken."""
    parts = [part.strip() for part in text.split(",")]
    known = {tuple(part.strip() for part in name.split(",")): name for name in classes}
    longest = max(map(len, known), default=1)
    names: list[str] = []
    while parts:
        count = next((n for n in range(longest, 1, -1) if tuple(parts[:n]) in known), 1)
        names.append(known.get(tuple(parts[:count]), parts[0]))
        del parts[:count]
    return names


def held_ids(ids: Sequence[str], share: float) -> frozenset[str]:
    """The share of ids that is kept for testing: those with the smallest sha256, at least one.

    Depends on the ids alone, so that a copy of a data set is split like the original.
    """
    ranked = sorted(ids, key=lambda one: hashlib.sha256(one.encode()).digest())
    return frozenset(ranked[: max(1, round(share * len(ranked)))])
