"""What the generator's noise goes through, a part of the generator: `none` is the paper's, the others are found here.

A filter takes the decoder's product, float32 [B, 3, H, W], and makes noise in (-1, 1) of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from unseg_core.degradations import gaussian
from unseg_core.stripes import CYCLES, FINE, MAGENTA, WHITE, YELLOW

FINEST, COARSEST = 1 / 80, 1 / 32
"""Standard deviations of the Gaussians of the filters, in sides of the noise: waves of 10 cycles per side keep the most
of their amplitude, those of 5 and of 19 half as much."""
GAIN = 10.0

GENTLE, STEEP = 3.0, 100.0
"""Slopes of the stripes' edges where the generator learns, and where it is used. Steep ones have the whole amplitude
however unsure the generator is, which small objects need, but hardly a gradient: trained with 12, it has columns
everywhere."""


def band_pass(raw_BKHW: Tensor) -> Tensor:
    """Noise without fine detail, which blur and resizing would take, and without colour over a wide area.

    Bounded before the filter, so that no amplitude makes up for what the filter takes, and after it.
    """
    side = raw_BKHW.shape[-1]
    without_detail = gaussian(FINEST * side)(torch.tanh(raw_BKHW))
    return torch.tanh(GAIN * (without_detail - gaussian(COARSEST * side)(without_detail)))


def stripes(raw_BKHW: Tensor, steepness: float = STEEP) -> Tensor:
    """Stripes of opposite colours, which fresh networks find first (docs/experiments.md, 12).

    Columns where the product is positive, diagonals where it is negative. What it has that is finer than the stripes is
    lost.
    """
    return _two_waves(raw_BKHW, CYCLES, MAGENTA, YELLOW, steepness)


def grey_stripes(raw_BKHW: Tensor) -> Tensor:
    """As `stripes` in black and white, and finer, because only fine ones are found then (docs/experiments.md, 13)."""
    return _two_waves(raw_BKHW, FINE, WHITE, WHITE, STEEP)


def _two_waves(
    raw_BKHW: Tensor, cycles: int, on_columns: Sequence[int], on_diagonals: Sequence[int], steepness: float
) -> Tensor:
    side = raw_BKHW.shape[-1]
    along = (torch.arange(side, dtype=torch.float32, device=raw_BKHW.device) + 0.5) * (2 * torch.pi * cycles / side)
    columns, diagonals = torch.cos(along), torch.cos((along[:, None] + along) / 2**0.5)
    strength = gaussian(FINEST * side)(torch.tanh(raw_BKHW))
    signs = torch.tensor([on_columns, on_diagonals], dtype=torch.float32, device=raw_BKHW.device)[:, :, None, None]
    wave = strength.clamp(min=0) * signs[0] * columns + strength.clamp(max=0) * signs[1] * diagonals
    return torch.tanh(steepness * wave)


Filter = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class NoiseFilter:
    """One filter, and where it differs."""

    in_training: Filter
    in_use: Filter
    in_grey: Filter
    """In use, for images with one channel, which get the green channel's noise."""


def _always(one: Filter) -> NoiseFilter:
    return NoiseFilter(in_training=one, in_use=one, in_grey=one)


NOISE_FILTERS = {
    "none": _always(torch.tanh),
    "band-pass": _always(band_pass),
    "stripes": NoiseFilter(in_training=partial(stripes, steepness=GENTLE), in_use=stripes, in_grey=grey_stripes),
}
"""`none` is the paper's."""
DEFAULT_FILTER = "none"
