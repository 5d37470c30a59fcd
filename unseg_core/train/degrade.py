"""What training puts between the generator and the surrogate, so that the noise outlives it (docs/training.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unseg_core.degradations import Transform, gaussian, jpeg, noise, resize

SHARE = 0.5
"""How often each of them is applied."""


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """A line of the registry: the transform for a strength and a seed, and the range of strengths."""

    low: float
    high: float
    transform: Callable[[float, int], Transform]


def _straight_through(transform: Transform) -> Transform:
    """The same values, with the gradient of doing nothing."""
    return lambda images: images + (transform(images) - images).detach()


DEGRADATIONS: dict[str, Degradation] = {
    # In pixels of the surrogate's input; the largest leaves 29 % of the amplitude at a period of eight pixels.
    "blur": Degradation(low=0.3, high=2.0, transform=lambda sigma, _: gaussian(sigma)),
    "resize": Degradation(low=0.4, high=1.0, transform=lambda factor, _: resize(factor)),
    "noise": Degradation(
        low=0.0, high=24.0, transform=lambda sigma, seed: noise(sigma, torch.Generator().manual_seed(seed))
    ),
    "jpeg": Degradation(low=50, high=95, transform=lambda quality, _: _straight_through(jpeg(quality))),
}
"""In the order in which they are applied."""


@dataclass(frozen=True, kw_only=True)
class DrawnDegradation:
    """One degradation of one sample."""

    name: str
    strength: float
    seed: int


def draw_degradations(names: Sequence[str], rng: np.random.Generator) -> tuple[DrawnDegradation, ...]:
    """Each of `names` with probability 1/2, at a uniform strength of its range."""
    drawn = []
    for name, one in DEGRADATIONS.items():
        if name in names:
            chance, strength, seed = rng.random(), rng.uniform(one.low, one.high), int(rng.integers(2**62))
            if chance < SHARE:
                drawn.append(DrawnDegradation(name=name, strength=strength, seed=seed))
    return tuple(drawn)


def degrade(image_BCHW: Tensor, draws: Sequence[Sequence[DrawnDegradation]]) -> Tensor:
    """Images in [0, 1], each with its own degradations; differentiable (JPEG straight through)."""
    # In float32: bfloat16 would round the image to half a level and more, and not all of them are made for it.
    with torch.autocast(image_BCHW.device.type, enabled=False):
        return torch.cat([_degrade(image_BCHW[at : at + 1].float(), one) for at, one in enumerate(draws)])


def _degrade(image_1CHW: Tensor, draws: Sequence[DrawnDegradation]) -> Tensor:
    for draw in draws:
        image_1CHW = DEGRADATIONS[draw.name].transform(draw.strength, draw.seed)(image_1CHW)
    return image_1CHW
