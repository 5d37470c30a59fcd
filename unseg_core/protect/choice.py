"""Which gratings suit a data set, for users who name no method, and which of its classes come first in them.

Judged by a few images, drawn from all, the same in every run. Those whose annotation is damaged do not count.
"""

from __future__ import annotations

import random

import numpy as np

from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample, select_target
from unseg_core.errors import DataError

EXAMINED = 64
COVERED = 2 / 3
"""Of the pixels. Objects leave most of them alone: of the images of COCO and VOC they have a third and less than half.
Where everything has a class (Cityscapes, ADE20K) it is more than nine tenths."""


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


def _areas(layout: Layout, targets: str) -> np.ndarray:
    """int64: pixels of each class, 0 for what is no target."""
    areas = np.zeros(len(layout.classes) + 1, dtype=np.int64)
    for sample in _drawn(layout):
        try:
            target = select_target(sample.read_annotation(), targets, layout.classes)
        except DataError:
            continue
        areas += np.bincount(target.labels.ravel(), minlength=areas.size)
    return areas


def _drawn(layout: Layout) -> list[Sample]:
    """All equally likely, in one pass: a later sample takes the place of another, the less often the later it is."""
    rng, drawn = random.Random(0), list[Sample]()
    for index, sample in enumerate(layout.samples()):
        if index < EXAMINED:
            drawn.append(sample)
        elif (place := rng.randrange(index + 1)) < EXAMINED:
            drawn[place] = sample
    return drawn
