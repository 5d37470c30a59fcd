"""What a downstream model is given: images at the network's size, and what is to be found in them.

Axes in names: B batch, C channels, H W pixels of the network's square input, N objects of one image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from unseg_core.data.sample import Annotation


class Draws(Protocol):
    """Where random numbers come from: numpy's Generator, or a process's part of one."""

    def random(self, size: int, /) -> np.ndarray:
        """float64 [size] in [0, 1)."""
        ...


class PartOfDraws:
    """One process's part of what is drawn for a whole batch, so that processes together draw what one alone does."""

    def __init__(self, rng: Draws, whole: int, rank: int, count: int) -> None:
        self.rng, self.whole, self.rank, self.count = rng, whole, rank, count

    def random(self, size: int, /) -> np.ndarray:
        """Of the images rank, rank + count, ... of a batch of `whole` images."""
        part: np.ndarray = self.rng.random(self.whole)[self.rank :: self.count]
        assert len(part) == size
        return part


@dataclass(frozen=True, kw_only=True)
class Frame:
    """How an image lies in the network's square: padded at the right and bottom to `longer`, then resized to `side`."""

    height: int
    width: int
    """Pixels of the original image."""
    side: int

    @property
    def scale(self) -> float:
        """Network pixels per original pixel."""
        return self.side / max(self.height, self.width)

    @property
    def valid(self) -> tuple[float, float]:
        """Height and width of the image in network pixels; the rest is padding."""
        return self.height * self.scale, self.width * self.scale


@dataclass(frozen=True, kw_only=True)
class Objects:
    """The objects and regions of one image, without crowds, in the order of its annotation."""

    masks: Tensor
    """bool [N, H, W]; a small object may have no pixel left."""
    categories: Tensor
    """int64 [N]: 1, 2, ..."""
    boxes: Tensor
    """float32 [N, 4]: x0, y0, x1, y1 in network pixels, half-open."""
    is_thing: Tensor
    """bool [N]"""

    def select(self, chosen: Tensor) -> Objects:
        """The objects of a mask or of indices [N]."""
        return Objects(
            masks=self.masks[chosen],
            categories=self.categories[chosen],
            boxes=self.boxes[chosen],
            is_thing=self.is_thing[chosen],
        )

    def visible(self) -> Objects:
        """Those that have a pixel at the network's size."""
        return self.select(self.masks.flatten(1).any(1))

    def to(self, device: torch.device) -> Objects:
        return Objects(
            masks=self.masks.to(device),
            categories=self.categories.to(device),
            boxes=self.boxes.to(device),
            is_thing=self.is_thing.to(device),
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images and their truth; label maps for semantic tasks, objects for the others."""

    images: Tensor
    """float32 [B, 3, H, W], ImageNet-normalised"""
    labels: Tensor | None = None
    """int64 [B, H, W]: 0 background, 1, 2, ... classes, 255 = ignore"""
    objects: tuple[Objects, ...] = ()
    frames: tuple[Frame, ...] = ()
    annotations: tuple[Annotation, ...] = field(default=(), repr=False)
    """At the original size, for scoring."""

    def part(self, start: int, stop: int) -> Batch:
        """The images from `start` to before `stop` with all that belongs to them."""
        return Batch(
            images=self.images[start:stop],
            labels=None if self.labels is None else self.labels[start:stop],
            objects=self.objects[start:stop],
            frames=self.frames[start:stop],
            annotations=self.annotations[start:stop],
        )

    def inside(self) -> Tensor:
        """bool [B, H, W]: True in the images, False in their padding; all True for label maps, which have none."""
        height, width = self.images.shape[-2:]
        inside = torch.ones((len(self.images), height, width), dtype=torch.bool, device=self.images.device)
        for one, frame in zip(inside, self.frames, strict=False):
            rows, columns = (math.ceil(extent) for extent in frame.valid)
            one[rows:] = False
            one[:, columns:] = False
        return inside
