"""Prompts: what tells the networks which region is meant.

A mask prompt holds 0 or 255, not logits (paper's code; see docs/method.md). Coordinates are pixels of the
network's square input, x before y.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

POINTS_PER_OBJECT = 10
KINDS = ("box", "points", "mask")


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """P prompts of the same kinds, each for one object or one region of one image of a batch."""

    image: Tensor
    """[P] int64, which image of the batch; several prompts of an image share its encoder pass."""
    row: Tensor
    """[P] int64, which row of the result."""
    points: Tensor | None = None
    """[P, n, 2] float, (x, y)."""
    point_labels: Tensor | None = None
    """[P, n] float: 1 on the object, 0 not on it. All 1 if not given."""
    boxes: Tensor | None = None
    """[P, 4] float, (x0, y0, x1, y1), pixels inclusive."""
    masks: Tensor | None = None
    """[P, 1, m, m] float, 0 or 255, m four times the side of the image embedding."""
    small: Tensor | None = None
    """[P, 1, s, s] bool: where objects are small, for noise filters that treat them otherwise."""

    def __post_init__(self) -> None:
        given = [t for t in (self.points, self.boxes, self.masks) if t is not None]
        if not given:
            raise ValueError("a prompt needs points, boxes or masks")
        if any(t is not None and len(t) != self.count for t in (self.row, self.small, *given)):
            raise ValueError("the prompts of a group differ in number")
        if self.points is not None and self.point_labels is None:
            object.__setattr__(self, "point_labels", self.points.new_ones(self.points.shape[:2]))

    @property
    def count(self) -> int:
        return len(self.image)

    def to(self, device: torch.device) -> Prompts:
        """The same prompts on `device`."""
        moved = {
            field.name: value.to(device)
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return Prompts(**moved)


def box_of(mask_HW: np.ndarray) -> tuple[int, int, int, int]:
    """Tight extent (x0, y0, x1, y1) of a bool mask, pixels inclusive; the whole image if the mask is empty."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    if rows.size == 0:
        return 0, 0, mask_HW.shape[1] - 1, mask_HW.shape[0] - 1
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def random_points(mask_HW: np.ndarray, rng: np.random.Generator, count: int = POINTS_PER_OBJECT) -> np.ndarray:
    """`count` random pixels of the mask as float32 [count, 2] (x, y).

    An object of fewer pixels repeats some; an empty mask is treated as the whole image.
    """
    pixels = np.flatnonzero(mask_HW) if mask_HW.any() else np.arange(mask_HW.size)
    chosen = rng.choice(pixels, size=count, replace=pixels.size < count)
    rows, columns = np.divmod(chosen, mask_HW.shape[1])
    return np.stack([columns, rows], axis=1).astype(np.float32)


def roughen_mask(mask_B1HW: Tensor, normal_B1HW: Tensor) -> Tensor:
    """Make a mask prompt noisy near its border, for training.

    Args:
        mask_B1HW: 0 or 255.
        normal_B1HW: standard normal values of the same shape.

    Returns:
        0 or 255: where the mask differs from its 1/8 down-and-up-sampled self, it follows mask + noise > 0.5.
    """
    mask = mask_B1HW / 255.0
    height, width = mask.shape[-2:]
    small = F.interpolate(mask, size=(height // 8, width // 8), mode="bilinear", align_corners=False)
    smooth = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
    border = (mask - smooth).abs() >= 0.01
    return ((mask + border * normal_B1HW) > 0.5).float() * 255.0


@dataclass(frozen=True, kw_only=True)
class SamplePrompts:
    """All prompts that one object could give; a draw of `kinds` decides which are used."""

    box: Tensor
    """[4]"""
    points: Tensor
    """[10, 2]"""
    mask: Tensor
    """[1, m, m], 0 or 255"""


def draw_subset(rng: np.random.Generator) -> frozenset[str]:
    """A uniformly random non-empty subset of KINDS (the generator's prompt in training)."""
    code = int(rng.integers(1, 2 ** len(KINDS)))
    return frozenset(kind for bit, kind in enumerate(KINDS) if code >> bit & 1)


def draw_one(rng: np.random.Generator) -> frozenset[str]:
    """Exactly one random kind (the surrogate's prompt in training)."""
    return frozenset([KINDS[int(rng.integers(len(KINDS)))]])


def group(
    samples: Sequence[SamplePrompts], kinds: Sequence[frozenset[str]], images: Sequence[int] | None = None
) -> list[Prompts]:
    """Group objects by the kinds drawn for them, so that each group runs as one batch.

    Args:
        images: which image of the batch each object lies in; by default object i in image i.
    """
    where = range(len(samples)) if images is None else images
    groups = []
    for wanted in sorted(set(kinds), key=sorted):
        members = [i for i, k in enumerate(kinds) if k == wanted]
        chosen = [samples[i] for i in members]
        prompts = Prompts(
            image=torch.tensor([where[i] for i in members]),
            row=torch.tensor(members),
            points=torch.stack([s.points for s in chosen]) if "points" in wanted else None,
            boxes=torch.stack([s.box for s in chosen]) if "box" in wanted else None,
            masks=torch.stack([s.mask for s in chosen]) if "mask" in wanted else None,
        )
        groups.append(prompts)
    return groups
