"""A picture of what the players do: image, noise, noised image, and the surrogate's mask on both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unseg_core.image_tensors import resize_bilinear
from unseg_core.images import encode_png
from unseg_core.model.generator import Generator
from unseg_core.model.surrogate import Surrogate, surrogate_input
from unseg_core.params import TrainParams
from unseg_core.train.dataset import TrainSample
from unseg_core.train.step import collate, to_device
from unseg_core.train.validate import predicted_mask

CELL = 256
GAP = 4


@torch.no_grad()
def draw_panel(
    generator: Generator, surrogate: Surrogate, samples: Sequence[TrainSample], params: TrainParams
) -> bytes:
    """A PNG with a row for each sample.

    From left to right: the clean image, the noise (grey is none), the noised image as the surrogate sees it, the label,
    and the surrogate's mask on the noised and on the clean image.
    """
    device = next(generator.parameters()).device
    return encode_png(np.concatenate([_row(generator, surrogate, one, params, device) for one in samples]))


def _row(
    generator: Generator, surrogate: Surrogate, sample: TrainSample, params: TrainParams, device: torch.device
) -> np.ndarray:
    batch = to_device(collate([sample]), device)
    noise = generator(batch.image, batch.generator_prompts).float()
    epsilons = {"epsilon": params.epsilon, "epsilon_bg": params.epsilon_bg}
    noised = surrogate_input(batch.image_half, noise, batch.label_half, **epsilons)
    masks = [
        predicted_mask(surrogate(image, batch.surrogate_prompts), noised.shape[-1]).float().unsqueeze(1)
        for image in (noised, batch.image_half)
    ]
    cells = [batch.image_half, noise / 2 + 0.5, noised, batch.label_half, *masks]
    return np.concatenate([_cell(one[0].cpu()) for one in cells], axis=1)


def _cell(image_CHW: Tensor) -> np.ndarray:
    """uint8 with a white border at the right and bottom."""
    small = resize_bilinear(image_CHW.expand(3, -1, -1), CELL).clamp(0, 1)
    pixels = (255 * small).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return np.pad(pixels, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)
