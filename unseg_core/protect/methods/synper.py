"""SynPer: linearly separable synthetic patches per class.

Yu, Zhang, Chen, Yin, Liu: Availability Attacks Create Shortcuts, KDD 2022. Every class is a corner of a hypercube, an
image of that class a point drawn around it, and every coordinate of the point a patch of 8x8 pixels in one channel.

For segmentation the 4x4 patches (32x32 pixels, the paper's CIFAR image) repeat over the image, and each pixel takes
those of its class. Unlike there the points are clipped to the cube, so the corners lie at the budget, and the spread
around a corner is the same in all directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unseg_core.data.sample import Target
from unseg_core.protect.methods.class_map import class_map, stream
from unseg_core.protect.methods.method import Method

PATCH = 8
"""Pixels."""
PATCHES = 4
"""Along a side, before they repeat."""
SPREAD = 0.1
"""Standard deviation around a corner whose coordinates are -1 and 1."""


@dataclass(frozen=True, kw_only=True)
class SynPerNoise(Method):
    """A method: patches whose signs belong to the class."""

    seed: int = 0
    name: str = "synper"

    def noise(self, image_HWC: np.ndarray, target: Target, image_id: str) -> np.ndarray:
        classes = class_map(target)
        points = [self._point(category, image_id) for category in classes.categories]
        points_3NK = np.stack(points, axis=-1).reshape(3, -1)
        rows, columns = (np.arange(side) // PATCH % PATCHES for side in (target.height, target.width))
        patch_HW = rows[:, None] * PATCHES + columns
        noise: np.ndarray = np.take(points_3NK, patch_HW * len(points) + classes.index, axis=1)
        return noise

    def _point(self, category: int, image_id: str) -> np.ndarray:
        """float32 3x16: the image's point near the corner of a class."""
        shape = (3, PATCHES * PATCHES)
        corner = stream("synper", self.seed, category).choice(np.array([-1, 1], dtype=np.float32), shape)
        spread = stream("synper", self.seed, category, image_id).standard_normal(shape, dtype=np.float32)
        point: np.ndarray = np.clip(corner + np.float32(SPREAD) * spread, -1, 1)
        return point
