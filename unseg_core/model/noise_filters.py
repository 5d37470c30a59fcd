"""What the generator's noise goes through, a part of the generator: `none` is the paper's, the others are found here.

A filter takes the decoder's product, float32 [B, 3, H, W], and makes noise in (-1, 1) of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

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
LEARNT = 12
"""Cycles per side of the stripes that the generator learns with. What it learns is where which wave is, so those in use
can be others (docs/experiments.md, 17)."""
FINER = 4
"""In use, stripes are drawn on a grid of so many times the decoder's cells per side, so that they keep their edges."""


def band_pass(raw_BKHW: Tensor) -> Tensor:
    """Noise without fine detail, which blur and resizing would take, and without colour over a wide area.

    Bounded before the filter, so that no amplitude makes up for what the filter takes, and after it.
    """
    side = raw_BKHW.shape[-1]
    without_detail = gaussian(FINEST * side)(torch.tanh(raw_BKHW))
    return torch.tanh(GAIN * (without_detail - gaussian(COARSEST * side)(without_detail)))


def learnt_stripes(raw_BKHW: Tensor) -> Tensor:
    """Stripes of opposite colours, which fresh networks find first (docs/experiments.md, 12).

    Columns where the product is positive, diagonals where it is negative. What it has that is finer than the stripes is
    lost.
    """
    return _two_waves(_strength(raw_BKHW), LEARNT, MAGENTA, YELLOW, GENTLE, torch.cos)


@dataclass(frozen=True, kw_only=True)
class InUse:
    """What is wanted of a filter that leaves a choice."""

    cycles: int = CYCLES
    """Of stripes of colours, per side."""
    grey: bool = False
    """For images with one channel, which get the green channel's noise."""


AS_USUAL = InUse()


def stripes(raw_BKHW: Tensor, small_B1HW: Tensor | None = None, use: InUse = AS_USUAL) -> Tensor:
    """The same in use: [B, 3, FINER H, FINER W].

    Small objects, as of `model.prompts.Prompts`, have columns whatever the product is: it gives most of them the
    diagonals of what is around them (docs/experiments.md, 21). In black and white stripes are finer, because only fine
    ones are found then (13).
    """
    strength = F.interpolate(_strength(raw_BKHW), scale_factor=FINER, mode="bilinear", align_corners=False)
    if small_B1HW is not None:
        small = F.interpolate(small_B1HW.float(), size=strength.shape[-2:]) > 0
        strength = torch.where(small, torch.ones_like(strength), strength)
    if use.grey:
        return _two_waves(strength, FINE, WHITE, WHITE, STEEP, torch.cos)
    return _two_waves(strength, use.cycles, MAGENTA, YELLOW, STEEP, torch.sin)


def _strength(raw_BKHW: Tensor) -> Tensor:
    """Which wave, by its sign, and how strong, in (-1, 1), without detail."""
    return gaussian(FINEST * raw_BKHW.shape[-1])(torch.tanh(raw_BKHW))


def _two_waves(
    strength_BKHW: Tensor,
    cycles: int,
    on_columns: Sequence[int],
    on_diagonals: Sequence[int],
    steepness: float,
    columns_of: Callable[[Tensor], Tensor],
) -> Tensor:
    """`columns_of` the angle from the edge; the sine has whole stripes there, which JPEG keeps best (25)."""
    side, device = strength_BKHW.shape[-1], strength_BKHW.device
    along = (torch.arange(side, dtype=torch.float32, device=device) + 0.5) * (2 * torch.pi * cycles / side)
    columns, diagonals = columns_of(along), torch.cos((along[:, None] + along) / 2**0.5)
    signs = torch.tensor([on_columns, on_diagonals], dtype=torch.float32, device=device)[:, :, None, None]
    wave = strength_BKHW.clamp(min=0) * signs[0] * columns + strength_BKHW.clamp(max=0) * signs[1] * diagonals
    return torch.tanh(steepness * wave)


Filter = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class NoiseFilter:
    """One filter, and where it differs."""

    in_training: Filter
    in_use: Callable[[Tensor, Tensor | None, InUse], Tensor]
    """Of the product, where objects are small, and what is wanted."""


def _always(one: Filter) -> NoiseFilter:
    return NoiseFilter(in_training=one, in_use=lambda raw, small, use: one(raw))


NOISE_FILTERS = {
    "none": _always(torch.tanh),
    "band-pass": _always(band_pass),
    "stripes": NoiseFilter(in_training=learnt_stripes, in_use=stripes),
}
"""`none` is the paper's."""
DEFAULT_FILTER = "none"
