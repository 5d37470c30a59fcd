"""DINO (Zhang et al., ICLR 2023): a detector of two stages, trained with contrastive denoising."""

from __future__ import annotations

from unseg_core.evaluate.models.dino.detector import DINO

__all__ = ["DINO"]
