"""Flip and large-scale jitter on image and label together, decided by a seed per sample and epoch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms


def augment(
    image_CHW: Tensor, label_1HW: Tensor, rng: np.random.Generator, *, size: int, scale_min: float, scale_max: float
) -> tuple[Tensor, Tensor]:
    """
    Args:
        image_CHW: uint8.
        label_1HW: uint8, 0 or 255.
        rng: decides flip, scale and crop.
        size: side of the square result, pixels.

    Returns:
        Image and soft label, float32 in [0, 1], [3, size, size] and [1, size, size]: flipped with probability 1/2,
        scaled so that the longer side is a uniform draw of scale_min..scale_max times `size`, cropped at random,
        zero-padded at the right and bottom.
    """
    if rng.random() < 0.5:
        image_CHW, label_1HW = transforms.horizontal_flip(image_CHW), transforms.horizontal_flip(label_1HW)
    both = _scale(image_CHW, label_1HW, rng.uniform(scale_min, scale_max) * size)
    top, left = (int(rng.integers(0, max(0, side - size) + 1)) for side in both.shape[-2:])
    return _finish(both[:, top : top + size, left : left + size], size)


def fit(image_CHW: Tensor, label_1HW: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The same without chance: whole and not flipped, the longer side `size` pixels."""
    return _finish(_scale(image_CHW, label_1HW, size), size)


def _scale(image_CHW: Tensor, label_1HW: Tensor, longer: float) -> Tensor:
    """Image and label as one float tensor [4, h, w], 0..255."""
    height, width = (max(1, round(side * longer / max(image_CHW.shape[-2:]))) for side in image_CHW.shape[-2:])
    both = torch.cat([image_CHW, label_1HW]).float()
    scaled: Tensor = transforms.resize(both, [height, width], antialias=True)
    return scaled


def _finish(both_CHW: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Pad and bring to [0, 1]."""
    both_CHW = transforms.pad(both_CHW, [0, 0, size - both_CHW.shape[2], size - both_CHW.shape[1]])
    return both_CHW[:3] / 255.0, both_CHW[3:] / 255.0
