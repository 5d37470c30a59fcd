"""Losses at sampled points: BCE + dice as in Mask2Former, points as in PointRend (Kirillov et al., 2020)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

OVERSAMPLING = 3
IMPORTANCE_SHARE = 0.75


def sample_at(image_BCHW: Tensor, points_BN2: Tensor) -> Tensor:
    """Bilinear values at points (x, y) in [0, 1], half-pixel centres, zero outside: [B, C, N]."""
    grid = 2.0 * points_BN2.unsqueeze(2) - 1.0
    return F.grid_sample(image_BCHW, grid, align_corners=False).squeeze(3)


def importance_points(logits_B1HW: Tensor, candidates_BN2: Tensor, uniform_BM2: Tensor, count: int) -> Tensor:
    """The `count` least certain candidates, by decreasing uncertainty, followed by the uniform points."""
    uncertainty = -sample_at(logits_B1HW, candidates_BN2).abs().squeeze(1)
    chosen = uncertainty.topk(count, dim=1).indices
    uncertain = torch.gather(candidates_BN2, 1, chosen.unsqueeze(2).expand(-1, -1, 2))
    return torch.cat([uncertain, uniform_BM2], dim=1)


def draw_points(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random points for a loss at `count` points of one sample, float32 (x, y) in [0, 1].

    Returns:
        Three candidates for each point, [3 * count, 2], and the quarter that stays as drawn, [count / 4, 2].
    """
    uniform = count - int(IMPORTANCE_SHARE * count)
    candidates, rest = (rng.random((n, 2), dtype=np.float32) for n in (OVERSAMPLING * count, uniform))
    return torch.from_numpy(candidates), torch.from_numpy(rest)


def point_losses(logits_B1HW: Tensor, target_B1HW: Tensor, points_BN2: Tensor) -> tuple[Tensor, Tensor]:
    """Mean BCE and dice loss (smoothed by 1) at the points, each averaged over the batch."""
    logits = sample_at(logits_B1HW, points_BN2).squeeze(1)
    target = sample_at(target_B1HW, points_BN2).squeeze(1)
    bce = F.binary_cross_entropy_with_logits(logits, target)
    p = logits.sigmoid()
    dice = 1 - (2 * (p * target).sum(1) + 1) / (p.sum(1) + target.sum(1) + 1)
    return bce, dice.mean()
