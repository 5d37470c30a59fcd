"""From an object mask to the protected region and to the prompts of the generator.

The label goes through 1024 and 256 pixels as in the published generation scripts (docs/method.md, "Generation"),
whatever the size of the network, so that the region depends on the mask alone and can be checked without a network.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unseg_core.images import pad_to_square, resize_bilinear, resize_nearest

LABEL_SIZE = 1024
REGION_SIZE = 256


def _square_label(mask_HW: np.ndarray) -> Tensor:
    """[1, 256, 256] float, 0 or 1: padded to a square, nearest to 1024, bilinear to 256, rounded half to even."""
    square = pad_to_square(torch.from_numpy(mask_HW.astype(np.uint8))[None])[0].numpy()
    label = torch.from_numpy(resize_nearest(square, LABEL_SIZE, LABEL_SIZE))[None].float()
    return resize_bilinear(label, REGION_SIZE).round()


def protected_region(mask_HW: np.ndarray) -> np.ndarray:
    """The region in which epsilon applies: the 256-pixel label enlarged to the image and rounded, bool HxW.

    An object too small to survive that keeps its own pixels, so that no object is left at epsilon_bg.
    """
    height, width = mask_HW.shape
    region = resize_bilinear(_square_label(mask_HW), max(height, width)).round()[0, :height, :width].bool().numpy()
    return region if region.any() else mask_HW.astype(bool)


def mask_prompt(mask_HW: np.ndarray, side: int) -> Tensor:
    """The mask prompt of a network, [1, side, side] float with values 0 or 255."""
    label = _square_label(mask_HW)
    small = label if side == REGION_SIZE else resize_bilinear(label, side).round()
    if mask_HW.any() and not small.any():
        square = pad_to_square(torch.from_numpy(mask_HW.astype(np.float32))[None])
        small = F.adaptive_max_pool2d(square, side)
    return small * 255.0


def square_mask(mask_HW: np.ndarray, side: int) -> np.ndarray:
    """The mask in the coordinates of a network's input, bool side x side, for boxes and points."""
    square = pad_to_square(torch.from_numpy(mask_HW.astype(np.uint8))[None])[0].numpy()
    return resize_nearest(square, side, side).astype(bool)
