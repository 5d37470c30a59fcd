"""Uniform random noise, drawn anew for every image: the control that any method has to beat."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from unseg_core.data.sample import Target
from unseg_core.protect.methods.method import Method


@dataclass(frozen=True, kw_only=True)
class UniformNoise(Method):
    """A method: independent noise per pixel and channel, seeded by the image's id."""

    seed: int = 0
    name: str = "uniform"

    def noise(self, image_HWC: np.ndarray, target: Target, image_id: str) -> np.ndarray:
        entropy = [self.seed, zlib.crc32(image_id.encode())]
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
        return rng.random((3, target.height, target.width), dtype=np.float32) * 2 - 1
