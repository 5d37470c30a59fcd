"""Hyper-parameters of DINO."""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = 4
"""Feature maps: three of the backbone, and one of half the size of the last."""


@dataclass(frozen=True, kw_only=True)
class DinoSize:
    """The paper's 4-scale model by default."""

    width: int = 256
    hidden: int = 2048
    heads: int = 8
    points: int = 4
    layers: int = 6
    """Of the encoder and of the decoder."""
    queries: int = 900
    denoising: int = 100
    """Objects that are denoised in one image, at least."""
    groups: int = 32
    """Of the group normalisation."""


SIZES = {
    "paper": DinoSize(),
    "tiny": DinoSize(width=64, hidden=128, heads=4, points=2, layers=2, queries=40, denoising=20, groups=8),
}
