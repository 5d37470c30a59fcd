"""The resize-and-pad geometry between images and the square inputs and outputs of networks."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def pad_to_square(image_CHW: Tensor) -> Tensor:
    """Zero-pad at the right and bottom to a square of the longer side."""
    height, width = image_CHW.shape[-2:]
    side = max(height, width)
    return F.pad(image_CHW, (0, side - width, 0, side - height))


def resize_bilinear(image_CHW: Tensor, side: int) -> Tensor:
    """To side x side: bilinear, half-pixel centres, no antialias (the method's one resize of images)."""
    return F.interpolate(image_CHW[None], size=(side, side), mode="bilinear", align_corners=False)[0]


WHOLE = 4096
"""Pixels: of larger squares only the part that the image covers is computed, so that long images need little memory."""


def network_input(image_HWC: np.ndarray, side: int) -> Tensor:
    """uint8 HxWx3 to float32 [3, side, side] in [0, 1]: zero-padded to a square, then resized."""
    image = torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1))).float()
    longer = max(image.shape[1:])
    if longer <= WHOLE:
        return resize_bilinear(pad_to_square(image), side) / 255.0
    # Zeros resized are zeros: only what is near the image is padded.
    margin = 2 * math.ceil(longer / side) + 2
    rows, columns = (_rescalable(extent + margin, longer, side) for extent in image.shape[1:])
    part = _rescale(F.pad(image, (0, columns - image.shape[2], 0, rows - image.shape[1])), longer, side)
    square = torch.zeros(3, side, side)
    square[:, : part.shape[1], : part.shape[2]] = part[:, :side, :side]
    return square / 255.0


def enlarge_to(square_Cnn: Tensor, height: int, width: int) -> Tensor:
    """[C, n, n] to [C, height, width]: resized to the square of the longer side, and cropped."""
    longer, side = max(height, width), square_Cnn.shape[-1]
    if longer <= WHOLE:
        return resize_bilinear(square_Cnn, longer)[:, :height, :width]
    rows, columns = (_rescalable(math.ceil(extent * side / longer) + 1, side, longer) for extent in (height, width))
    return _rescale(square_Cnn[:, :rows, :columns], side, longer)[:, :height, :width]


def _rescale(image_CHW: Tensor, old: int, new: int) -> Tensor:
    """A part of what resize_bilinear makes of a square of side `old`, to 1e-5 of the values."""
    # The tiny factor keeps old * (new / old) from falling below new.
    scale = new / old * (1 + 1e-12)
    return F.interpolate(
        image_CHW[None], scale_factor=scale, mode="bilinear", align_corners=False, recompute_scale_factor=False
    )[0]


def _rescalable(extent: int, old: int, new: int) -> int:
    """The next extent, at most `old`, that changes with the scale: for one that does not, PyTorch skips the scale."""
    while extent < old and math.floor(extent * new / old) == extent:
        extent += 1
    return min(extent, old)
