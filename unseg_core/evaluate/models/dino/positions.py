"""Sine embeddings of pixels and of boxes, and where the encoder looks and proposes boxes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unseg_core.evaluate.models.dino.boxes import inverse_sigmoid

PIXEL_TEMPERATURE = 20.0
"""DAB-DETR's, which DINO keeps for pixels (Liu et al., ICLR 2022)."""
BOX_TEMPERATURE = 10_000.0
BASE_SIZE = 0.05
"""Side of the finest level's proposals as a share of the image; each next level has twice that."""


def sine(values: Tensor, width: int, temperature: float) -> Tensor:
    """Sines and cosines of values in [0, 1], in turn: [..., width]."""
    steps = torch.arange(width // 2, dtype=torch.float32, device=values.device)
    angles = values.unsqueeze(-1) * 2 * math.pi / temperature ** (2 * steps / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def pixel_positions(inside_BHW: Tensor, width: int) -> Tensor:
    """Embeddings of all pixels of the images, [B, width, H, W]: rows first, then columns."""
    rows, columns = inside_BHW.cumsum(1).float(), inside_BHW.cumsum(2).float()
    y = rows / (rows[:, -1:, :] + 1e-6)
    x = columns / (columns[:, :, -1:] + 1e-6)
    parts = [sine(part, width // 2, PIXEL_TEMPERATURE) for part in (y, x)]
    return torch.cat(parts, dim=3).permute(0, 3, 1, 2)


def box_positions(boxes_BN4: Tensor, width: int) -> Tensor:
    """Embeddings of boxes (centre, width, height), [B, N, 2 * width], the centre's row before its column."""
    x, y, w, h = boxes_BN4.unbind(-1)
    return torch.cat([sine(part, width // 2, BOX_TEMPERATURE) for part in (y, x, w, h)], dim=-1)


def valid_ratios(inside: list[Tensor]) -> Tensor:
    """Shares of width and height that are no padding, [B, levels, 2]."""
    ratios = [
        torch.stack([one[:, 0, :].float().mean(1), one[:, :, 0].float().mean(1)], dim=-1) for one in inside
    ]  # fmt: skip
    return torch.stack(ratios, dim=1)


def pixel_centres(shapes: list[tuple[int, int]], ratios_BL2: Tensor) -> Tensor:
    """Centres (x, y) of the pixels of all levels as shares of the images, [B, pixels, 2]."""
    centres = []
    for level, (height, width) in enumerate(shapes):
        y, x = torch.meshgrid(
            torch.arange(height, device=ratios_BL2.device) + 0.5,
            torch.arange(width, device=ratios_BL2.device) + 0.5,
            indexing="ij",
        )
        size = ratios_BL2[:, None, level] * ratios_BL2.new_tensor([width, height])
        centres.append(torch.stack([x, y], dim=-1).reshape(1, -1, 2) / size)
    return torch.cat(centres, dim=1)


def proposals(centres_BP2: Tensor, shapes: list[tuple[int, int]], inside_BP: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of a box at every pixel [B, P, 4], and which of them are well inside their images [B, P, 1]."""
    sizes = torch.cat(
        [
            centres_BP2.new_full((height * width,), BASE_SIZE * 2.0**level)
            for level, (height, width) in enumerate(shapes)
        ]
    )
    sides = sizes.view(1, -1, 1).expand(len(centres_BP2), -1, 2)
    boxes = torch.cat([centres_BP2, sides], dim=-1)
    usable = ((boxes > 0.01) & (boxes < 0.99)).all(-1, keepdim=True) & inside_BP.unsqueeze(-1)
    return inverse_sigmoid(boxes, 1e-6), usable
