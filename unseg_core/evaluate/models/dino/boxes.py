"""Boxes as DINO has them: centre, width and height as shares of the image."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_convert

from unseg_core.evaluate.batch import Frame


def inverse_sigmoid(values: Tensor, least: float = 1e-3) -> Tensor:
    """Logits of values in [0, 1], finite at its ends."""
    values = values.clamp(0.0, 1.0)
    return torch.log(values.clamp(min=least) / (1 - values).clamp(min=least))


def corners(boxes_cxcywh: Tensor) -> Tensor:
    """x0, y0, x1, y1."""
    result: Tensor = box_convert(boxes_cxcywh, "cxcywh", "xyxy")
    return result


def to_shares(boxes_xyxy: Tensor, frame: Frame) -> Tensor:
    """From network pixels."""
    result: Tensor = box_convert(boxes_xyxy / _extent(frame, boxes_xyxy), "xyxy", "cxcywh")
    return result


def to_pixels(boxes_cxcywh: Tensor, frame: Frame) -> Tensor:
    """x0, y0, x1, y1 in network pixels."""
    return corners(boxes_cxcywh) * _extent(frame, boxes_cxcywh)


def _extent(frame: Frame, like: Tensor) -> Tensor:
    height, width = frame.valid
    return like.new_tensor([width, height, width, height])
