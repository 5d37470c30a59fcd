"""What of the noise suits a data set: which gratings, which classes come first in them, and how fine stripes are.

Judged by a few images, drawn from all, the same in every run. Those whose annotation is damaged do not count.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unseg_core.data.layouts import Layout
from unseg_core.data.sample import IGNORE_INDEX, Annotation, Sample, select_target
from unseg_core.errors import DataError
from unseg_core.protect.small_objects import small_objects
from unseg_core.stripes import CYCLES, CYCLES_FOR_SMALL

EXAMINED = 64
COVERED = 2 / 3
"""Of the pixels. Objects leave most of them alone: of the images of COCO and VOC they have a third and less than half.
Where everything has a class (Cityscapes, ADE20K) it is more than nine tenths."""
SMALL_SHARE = 0.2
"""Of the pixels of objects: where small objects have more, stripes are finer (docs/experiments.md, 23). In COCO and
DAVIS they have a sixtieth, in aerial photographs (NWPU VHR-10) two fifths."""


ONE_KIND = ("unseg", "grating", "dual-grating")
"""Methods whose noise is the same for all classes."""


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """Of the examined images."""

    areas: np.ndarray
    """int64: pixels of each class, 0 for what is no target."""
    small: int
    """Pixels of small objects."""
    crowds: int
    """Segments of a class that are marked as crowds."""


class Examination:
    """What a few annotations say of a data set; they are read when the first question needs them, and once."""

    def __init__(self, layout: Layout, targets: str) -> None:
        self._layout, self._targets = layout, targets

    def gratings(self) -> str:
        """`class-grating` where several classes cover the images, else `grating`."""
        if len(self._layout.classes) < 2:
            return "grating"
        areas = self._counts.areas
        covered = areas[1:].sum() > COVERED * areas.sum()
        return "class-grating" if covered and np.count_nonzero(areas[1:]) > 1 else "grating"

    def class_order(self, method: str) -> tuple[int, ...]:
        """Numbers of the classes in the images, those that cover most first; empty for methods that need none."""
        if method != "class-grating":
            return ()
        areas = self._counts.areas
        order = sorted(range(1, areas.size), key=lambda category: (-areas[category], category))
        return tuple(category for category in order if areas[category])

    def cycles(self, method: str) -> int:
        """Of stripes that are the same for all classes: finer ones where objects are small."""
        if method not in ("unseg", "grating"):
            return CYCLES
        covered = int(self._counts.areas[1:].sum())
        return CYCLES_FOR_SMALL if self._counts.small > SMALL_SHARE * covered else CYCLES

    def warnings(self, method: str) -> list[str]:
        """Sentences on what a copy by this method will not hide."""
        found = []
        if method in ONE_KIND and self.gratings() == "class-grating":
            found.append(
                f"several classes cover the images, and the noise of {method} is the same for all of them, so models "
                "still learn to tell them apart; the noise of class-grating differs by class"
            )
        if self._counts.crowds:
            found.append(
                "some objects are marked as crowds (iscrowd), which are not protected, as models are not trained on "
                f"them ({self._counts.crowds} in the images looked at, which are at most {EXAMINED})"
            )
        return found

    @cached_property
    def _counts(self) -> _Counts:
        areas, small, crowds = np.zeros(len(self._layout.classes) + 1, dtype=np.int64), 0, 0
        for annotation in self._annotations():
            target = select_target(annotation, self._targets, self._layout.classes)
            areas += np.bincount(target.labels.ravel(), minlength=areas.size)
            small += int(small_objects(target.mask).sum())
            crowds += sum(one.is_crowd and one.category != IGNORE_INDEX for one in annotation.segments)
        return _Counts(areas=areas, small=small, crowds=crowds)

    def _annotations(self) -> Iterator[Annotation]:
        for sample in _drawn(self._layout):
            try:
                yield sample.read_annotation()
            except DataError:
                continue


def _drawn(layout: Layout) -> list[Sample]:
    """All equally likely, in one pass: a later sample takes the place of another, the less often the later it is."""
    rng, drawn = random.Random(0), list[Sample]()
    for index, sample in enumerate(layout.samples()):
        if index < EXAMINED:
            drawn.append(sample)
        elif (place := rng.randrange(index + 1)) < EXAMINED:
            drawn[place] = sample
    return drawn
