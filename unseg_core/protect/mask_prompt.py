"""From an object mask to the prompts of a network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unseg_core.image_tensors import pad_to_square, resize_bilinear
from unseg_core.images import resize_nearest
from unseg_core.protect.region import REGION_SIZE, square_label


def mask_prompt(mask_HW: np.ndarray, side: int) -> Tensor:
    """The mask prompt of a network, [1, side, side] float with values 0 or 255."""
    label = torch.from_numpy(square_label(mask_HW))[None]
    small = label if side == REGION_SIZE else resize_bilinear(label, side).round()
    if mask_HW.any() and not small.any():
        square = pad_to_square(torch.from_numpy(mask_HW.astype(np.float32))[None])
        small = F.adaptive_max_pool2d(square, side)
    return small * 255.0


def square_mask(mask_HW: np.ndarray, side: int) -> np.ndarray:
    """The mask in the coordinates of a network's input, bool side x side, for boxes and points."""
    square = pad_to_square(torch.from_numpy(mask_HW.astype(np.uint8))[None])[0].numpy()
    return resize_nearest(square, side, side).astype(bool)
