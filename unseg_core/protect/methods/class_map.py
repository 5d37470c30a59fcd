"""Noise by class: the classes of an image, and random numbers that belong to a class.

The baselines were published for classification, one class an image. Here a pixel has the class of the target object
that it lies in (`Target.labels`), and what is no target is a class of its own, 0: for each method, image-wide noise of
every class, cut out along the class map.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from unseg_core.data.sample import Target


@dataclass(frozen=True, kw_only=True)
class ClassMap:
    """Which class each pixel has."""

    categories: tuple[int, ...]
    """The K classes in the image, ascending; 0 is what is no target."""
    index: np.ndarray
    """int64 HxW, the position of each pixel's class in `categories`."""


def class_map(target: Target) -> ClassMap:
    """The classes of an image and where they are."""
    counts = np.bincount(target.labels.ravel())
    present = np.flatnonzero(counts)
    position = np.zeros(counts.size, dtype=np.int64)
    position[present] = np.arange(present.size)
    return ClassMap(categories=tuple(present.tolist()), index=position[target.labels])


def stream(*keys: int | str) -> np.random.Generator:
    """Random numbers that depend on the keys alone, the same on every machine."""
    entropy = [zlib.crc32(key.encode()) if isinstance(key, str) else key for key in keys]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
