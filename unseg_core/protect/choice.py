"""What of the noise suits a data set: which gratings, which classes come first in them, and how fine stripes are.

Judged by a few images, drawn from all, the same in every run. Those whose annotation is damaged do not count.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample, Target, select_target
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


def suitable_gratings(layout: Layout, targets: str) -> str:
    """`class-grating` where several classes cover the images, else `grating`."""
    if len(layout.classes) < 2:
        return "grating"
    areas = _areas(layout, targets)
    covered = areas[1:].sum() > COVERED * areas.sum()
    return "class-grating" if covered and np.count_nonzero(areas[1:]) > 1 else "grating"


def class_order_for(method: str, layout: Layout, targets: str) -> tuple[int, ...]:
    """Numbers of the classes that are in the images, those that cover most first; empty for methods that need none."""
    if method != "class-grating":
        return ()
    areas = _areas(layout, targets)
    order = sorted(range(1, areas.size), key=lambda category: (-areas[category], category))
    return tuple(category for category in order if areas[category])


def cycles_for(method: str, layout: Layout, targets: str) -> int:
    """Of stripes that are the same for all classes: finer ones where objects are small."""
    if method not in ("unseg", "grating"):
        return CYCLES
    covered = small = 0
    for target in _examined(layout, targets):
        covered += int(target.mask.sum())
        small += int(small_objects(target.mask).sum())
    return CYCLES_FOR_SMALL if small > SMALL_SHARE * covered else CYCLES


def _areas(layout: Layout, targets: str) -> np.ndarray:
    """int64: pixels of each class, 0 for what is no target."""
    areas = np.zeros(len(layout.classes) + 1, dtype=np.int64)
    for target in _examined(layout, targets):
        areas += np.bincount(target.labels.ravel(), minlength=areas.size)
    return areas


def _examined(layout: Layout, targets: str) -> Iterator[Target]:
    for sample in _drawn(layout):
        try:
            yield select_target(sample.read_annotation(), targets, layout.classes)
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
