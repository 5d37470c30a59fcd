"""From normalised images to pixels in [0, 1] and back."""

from __future__ import annotations

import torch
from torch import Tensor

from unseg_core.model.parts import PIXEL_MEAN, PIXEL_STD


def scales(like_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [1, 3, 1, 1] of normalisation."""
    mean = torch.tensor(PIXEL_MEAN, device=like_BCHW.device).view(1, 3, 1, 1)
    std = torch.tensor(PIXEL_STD, device=like_BCHW.device).view(1, 3, 1, 1)
    return mean, std


def pixels_of(images_BCHW: Tensor) -> Tensor:
    """Pixels in [0, 1] of normalised images."""
    mean, std = scales(images_BCHW)
    return images_BCHW * std + mean
