"""UnSeg: noise from the trained generator (Sun et al., NeurIPS 2024), one forward pass per image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from unseg_core.data.sample import Target
from unseg_core.device import Precision, autocast
from unseg_core.images import network_input, resize_bilinear
from unseg_core.model.generator import Generator
from unseg_core.model.prompts import Prompts, box_of, random_points
from unseg_core.protect.region import mask_prompt, square_mask


@dataclass(frozen=True, kw_only=True)
class UnsegNoise:
    """A method: noise of a generator for the union of the target objects."""

    generator: Generator
    prompt: str = "mask"
    seed: int = 0
    precision: Precision = "fp32"
    name: str = "unseg"

    def noise(self, image_HWC: np.ndarray, target: Target, image_id: str) -> np.ndarray:
        return image_noise(
            self.generator, image_HWC, target.mask, prompt=self.prompt, seed=self.seed, precision=self.precision
        )


def image_noise(
    generator: Generator,
    image: np.ndarray,
    region: np.ndarray,
    *,
    prompt: str = "mask",
    seed: int = 0,
    precision: Precision = "fp32",
) -> np.ndarray:
    """Noise of one image.

    Args:
        image: uint8 HxWx3.
        region: bool HxW, the union of the objects to protect.
        prompt: "mask", "box", "point", or "whole" for the whole image as one region.
        seed: of the points.

    Returns:
        float32 3xHxW in (-1, 1).
    """
    height, width = region.shape
    with torch.inference_mode():
        device = next(generator.parameters()).device
        prompts = _prompts(generator, region if prompt != "whole" else np.ones_like(region), prompt, seed).to(device)
        batch = network_input(image, generator.size.input_size)[None].to(device)
        with autocast(device, precision):
            noise = generator(batch, [prompts])
        noise = noise[0].float().cpu()
        return resize_bilinear(noise, max(height, width))[:, :height, :width].contiguous().numpy()


def _prompts(generator: Generator, mask_HW: np.ndarray, prompt: str, seed: int) -> Prompts:
    first = torch.zeros(1, dtype=torch.long)
    if prompt in ("mask", "whole"):
        return Prompts(image=first, row=first, masks=mask_prompt(mask_HW, generator.size.noise_size)[None])
    square = square_mask(mask_HW, generator.size.input_size)
    if prompt == "box":
        return Prompts(image=first, row=first, boxes=torch.tensor([box_of(square)], dtype=torch.float32))
    points = random_points(square, np.random.Generator(np.random.PCG64(seed)))
    return Prompts(image=first, row=first, points=torch.from_numpy(points)[None])
