"""How well a binary mask fits: IoU, and boundary IoU (Cheng et al., CVPR 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

BOUNDARY_SHARE = 0.02
"""Width of the boundary as a share of the image's diagonal, as in the paper."""


def iou(predicted_BHW: Tensor, true_BHW: Tensor) -> Tensor:
    """Intersection over union of bool masks, [B] float; 1 where both are empty."""
    union = (predicted_BHW | true_BHW).sum(dim=(1, 2))
    both = (predicted_BHW & true_BHW).sum(dim=(1, 2))
    return torch.where(union > 0, both / union.clamp(min=1), 1.0)


def boundary_iou(predicted_BHW: Tensor, true_BHW: Tensor) -> Tensor:
    """IoU of the pixels of both masks that lie within the boundary's width of their contours, [B] float."""
    height, width = true_BHW.shape[-2:]
    distance = max(1, round(BOUNDARY_SHARE * math.hypot(height, width)))
    return iou(inner_boundary(predicted_BHW, distance), inner_boundary(true_BHW, distance))


def inner_boundary(mask_BHW: Tensor, distance: int) -> Tensor:
    """Pixels of bool masks with a pixel outside the mask (or the image) at most `distance` rows and columns away."""
    outside = F.pad((~mask_BHW).float().unsqueeze(1), (distance,) * 4, value=1.0)
    # A square window is a row of windows after a column of them.
    near = F.max_pool2d(F.max_pool2d(outside, (2 * distance + 1, 1), 1), (1, 2 * distance + 1), 1)
    return mask_BHW & (near.squeeze(1) > 0)
