"""Is the noise alive, and does the surrogate read it? Measured after training on held samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unseg_core.mask_metrics import iou
from unseg_core.model.generator import Generator
from unseg_core.model.surrogate import Surrogate, surrogate_input
from unseg_core.params import TrainParams
from unseg_core.train.dataset import TrainSample
from unseg_core.train.step import Batch, collate, to_device
from unseg_core.train.validate import BATCH, predicted_mask

SATURATED = 0.99
DEAD_STD = 1e-3


@dataclass(frozen=True, kw_only=True)
class Health:
    """Noise statistics over all values, and the surrogate's mean IoU with its prompts on noised and clean images."""

    noise_mean_abs: float
    noise_std: float
    noise_saturated: float
    """Share of values beyond 0.99."""
    noise_dead_channels: int
    """Of the three: standard deviation below 1e-3."""
    surrogate_iou_noised: float
    surrogate_iou_clean: float


@torch.no_grad()
def check_health(
    generator: Generator, surrogate: Surrogate, samples: Sequence[TrainSample], params: TrainParams
) -> Health:
    """Measure on a few training samples."""
    device = next(generator.parameters()).device
    noises: list[Tensor] = []
    ious: list[Tensor] = []
    for start in range(0, len(samples), BATCH):
        batch = to_device(collate(samples[start : start + BATCH]), device)
        noises.append(generator(batch.image, batch.generator_prompts))
        ious.append(_ious(surrogate, batch, noises[-1], params))
    noise = torch.cat(noises)
    noised, clean = torch.cat(ious, dim=1).mean(dim=1).tolist()
    return Health(
        noise_mean_abs=noise.abs().mean().item(),
        noise_std=noise.std().item(),
        noise_saturated=(noise.abs() > SATURATED).float().mean().item(),
        noise_dead_channels=int((noise.std(dim=(0, 2, 3)) < DEAD_STD).sum()),
        surrogate_iou_noised=noised,
        surrogate_iou_clean=clean,
    )


def _ious(surrogate: Surrogate, batch: Batch, noise: Tensor, params: TrainParams) -> Tensor:
    """[2, B]: on noised and on clean images."""
    true = batch.label_half[:, 0] > 0.5
    epsilons = {"epsilon": params.epsilon, "epsilon_bg": params.epsilon_bg}
    noised = surrogate_input(batch.image_half, noise, batch.label_half, **epsilons)
    logits = [surrogate(image, batch.surrogate_prompts) for image in (noised, batch.image_half)]
    return torch.stack([iou(predicted_mask(one, true.shape[-1]), true) for one in logits])
