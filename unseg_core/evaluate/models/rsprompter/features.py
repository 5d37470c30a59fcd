"""From the blocks of SAM's encoder to a pyramid of feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unseg_core.model.parts import LayerNorm2d


def _unit(before: int, after: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


class Aggregator(nn.Module):
    """Outputs of several blocks, each narrowed, added up one after the other and widened."""

    def __init__(self, blocks: int, width: int, narrow: int, out: int) -> None:
        super().__init__()
        self.narrowed = nn.ModuleList(
            nn.Sequential(_unit(width, narrow, 1), _unit(narrow, narrow, 3)) for _ in range(blocks)
        )
        self.added = nn.ModuleList(_unit(narrow, narrow, 3) for _ in range(blocks - 1))
        self.widened = nn.Sequential(_unit(narrow, out, 1), _unit(out, out, 3), nn.Conv2d(out, out, 3, padding=1))

    def forward(self, outputs: Sequence[Tensor]) -> Tensor:
        """From [B, width, h, w] per block to [B, out, h, w]."""
        values = [narrow(one) for narrow, one in zip(self.narrowed, outputs, strict=True)]
        total: Tensor = values[0]
        for add, value in zip(self.added, values[1:], strict=True):
            total = total + add(total + value)
        return cast(Tensor, self.widened(total))


class Pyramid(nn.Module):
    """Maps of 4, 2, 1, 1/2 and 1/4 of a map's side (ViTDet's simple pyramid, Li et al., ECCV 2022)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        fourfold = nn.Sequential(_twice(width, half), LayerNorm2d(half), nn.GELU(), _twice(half, quarter))
        self.scaled = nn.ModuleList([fourfold, _twice(width, half), nn.Identity(), nn.MaxPool2d(2, 2)])
        self.joined = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, width, 1),
                LayerNorm2d(width),
                nn.Conv2d(width, width, 3, padding=1),
                LayerNorm2d(width),
            )
            for before in (quarter, half, width, width)
        )

    def forward(self, values: Tensor) -> dict[str, Tensor]:
        """By level, the finest first."""
        maps = [join(scale(values)) for scale, join in zip(self.scaled, self.joined, strict=True)]
        maps.append(F.max_pool2d(maps[-1], 1, 2))
        return {str(level): one for level, one in enumerate(maps)}


def _twice(before: int, after: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, after, 2, 2)


class Prompter(nn.Module):
    """Features of detected objects to prompts of SAM: [N, C, s, s] to [N, tokens, C]."""

    def __init__(self, width: int, side: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(width * (side // 2) ** 2, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 2 * tokens * width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Sines make the range of the embeddings that of SAM's own prompts."""
        values: Tensor = self.layers(features).view(len(features), self.tokens, -1)
        return torch.sin(values[..., ::2]) + values[..., 1::2]
