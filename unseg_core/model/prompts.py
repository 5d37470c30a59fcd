"""Prompts: what tells the networks which region is meant.

A mask prompt holds 0 or 255, not logits (paper's code; see docs/method.md). Coordinates are pixels of the
network's square input, x before y.
"""

from __future__ import annotations

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
    """Prompts of the same kinds for `count` samples."""

    count: int
    points: Tensor | None = None
    """[B, 10, 2] float, (x, y); all of them positive."""
    boxes: Tensor | None = None
    """[B, 4] float, (x0, y0, x1, y1), pixels inclusive."""
    masks: Tensor | None = None
    """[B, 1, m, m] float, 0 or 255, m four times the side of the image embedding."""

    def __post_init__(self) -> None:
        if self.points is None and self.boxes is None and self.masks is None:
            raise ValueError("a prompt needs points, boxes or masks")


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
    """All prompts that one sample could give; a draw of `kinds` decides which are used."""

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


def group(samples: Sequence[SamplePrompts], kinds: Sequence[frozenset[str]]) -> list[tuple[Tensor, Prompts]]:
    """Group samples by the kinds drawn for them, so that each group runs as one batch.

    Returns:
        For every group the sample indices (int64) and their prompts.
    """
    groups = []
    for wanted in sorted(set(kinds), key=sorted):
        members = [i for i, k in enumerate(kinds) if k == wanted]
        chosen = [samples[i] for i in members]
        prompts = Prompts(
            count=len(members),
            points=torch.stack([s.points for s in chosen]) if "points" in wanted else None,
            boxes=torch.stack([s.box for s in chosen]) if "box" in wanted else None,
            masks=torch.stack([s.mask for s in chosen]) if "mask" in wanted else None,
        )
        groups.append((torch.tensor(members), prompts))
    return groups
