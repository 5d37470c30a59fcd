"""Is the noise alive, and does the surrogate read it? Measured after training on held samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from unseg_core.model.budget import surrogate_input
from unseg_core.model.generator import Generator
from unseg_core.model.surrogate import Surrogate
from unseg_core.params import TrainParams
from unseg_core.train.dataset import TrainSample
from unseg_core.train.step import collate, to_device

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


@torch.inference_mode()
def check_health(
    generator: Generator, surrogate: Surrogate, samples: Sequence[TrainSample], params: TrainParams
) -> Health:
    """Measure on a few training samples, as one batch."""
    device = next(generator.parameters()).device
    batch = to_device(collate(samples), device)
    noise = generator(batch.image, batch.generator_prompts)
    epsilons = {"epsilon": params.epsilon, "epsilon_bg": params.epsilon_bg}
    noised = surrogate_input(batch.image_half, noise, batch.label_half, **epsilons)
    ious = [
        _mean_iou(surrogate(image, batch.surrogate_prompts), batch.label_half) for image in (noised, batch.image_half)
    ]
    return Health(
        noise_mean_abs=noise.abs().mean().item(),
        noise_std=noise.std().item(),
        noise_saturated=(noise.abs() > SATURATED).float().mean().item(),
        noise_dead_channels=int((noise.std(dim=(0, 2, 3)) < DEAD_STD).sum()),
        surrogate_iou_noised=ious[0],
        surrogate_iou_clean=ious[1],
    )


def _mean_iou(logits_B1HW: torch.Tensor, label_B1HW: torch.Tensor) -> float:
    large = torch.nn.functional.interpolate(
        logits_B1HW, size=label_B1HW.shape[-2:], mode="bilinear", align_corners=False
    )
    predicted, true = large > 0, label_B1HW > 0.5
    union = (predicted | true).sum(dim=(1, 2, 3)).clamp(min=1)
    return ((predicted & true).sum(dim=(1, 2, 3)) / union).mean().item()
