"""UnSeg: noise from the trained generator (Sun et al., NeurIPS 2024), one prompt per image for all its objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from unseg_core.data.sample import Target
from unseg_core.device import Precision, autocast
from unseg_core.image_tensors import enlarge_to, network_input
from unseg_core.model.generator import Generator
from unseg_core.model.noise_filters import AS_USUAL, InUse
from unseg_core.model.prompts import Prompts, box_of, random_points
from unseg_core.protect.mask_prompt import mask_prompt, square_mask
from unseg_core.protect.methods.method import Method
from unseg_core.protect.small_objects import small_objects


@dataclass(frozen=True, kw_only=True)
class UnsegNoise(Method):
    """A method: noise of a generator for the union of the target objects."""

    generator: Generator
    prompt: str = "mask"
    seed: int = 0
    precision: Precision = "fp32"
    name: str = "unseg"
    use: InUse = AS_USUAL

    def in_grey(self) -> Method:
        """Noise of brightness, where the generator has any other."""
        return replace(self, use=replace(self.use, grey=True))

    def noise(self, image_HWC: np.ndarray, target: Target, image_id: str) -> np.ndarray:
        return self._noises([image_HWC], [target.mask])[0]

    def noises(
        self, images_HWC: Sequence[np.ndarray], targets: Sequence[Target], image_ids: Sequence[str]
    ) -> list[np.ndarray]:
        """As of the other methods, in one pass of the network where it has a GPU.

        On a CPU it is one pass per image. A batch is not faster there (size `small`: 205 ms alone, 198 ms in a batch of
        four), and its size decides about the last bits (1e-6), which shows in up to two values of an image.
        """
        if next(self.generator.parameters()).device.type == "cpu":
            return super().noises(images_HWC, targets, image_ids)
        return self._noises(images_HWC, [target.mask for target in targets])

    def _noises(self, images_HWC: Sequence[np.ndarray], regions_HW: Sequence[np.ndarray]) -> list[np.ndarray]:
        return image_noises(
            self.generator,
            images_HWC,
            regions_HW,
            prompt=self.prompt,
            seed=self.seed,
            precision=self.precision,
            use=self.use,
        )


def image_noise(
    generator: Generator,
    image: np.ndarray,
    region: np.ndarray,
    *,
    prompt: str = "mask",
    seed: int = 0,
    precision: Precision = "fp32",
    use: InUse = AS_USUAL,
) -> np.ndarray:
    """Noise of one image.

    Args:
        image: uint8 HxWx3.
        region: bool HxW, the union of the objects to protect.
        prompt: "mask", "box", "point", or "whole" for the whole image as one region.
        seed: of the points.
        use: what is wanted of the generator's noise filter.

    Returns:
        float32 3xHxW in (-1, 1).
    """
    return image_noises(generator, [image], [region], prompt=prompt, seed=seed, precision=precision, use=use)[0]


def image_noises(
    generator: Generator,
    images: Sequence[np.ndarray],
    regions: Sequence[np.ndarray],
    *,
    prompt: str = "mask",
    seed: int = 0,
    precision: Precision = "fp32",
    use: InUse = AS_USUAL,
) -> list[np.ndarray]:
    """Noise of images of any sizes in one forward pass; as `image_noise`."""
    with torch.inference_mode():
        device = next(generator.parameters()).device
        prompts = _prompts(generator, regions, prompt, seed)
        prompts = replace(prompts, small=_small(regions, generator.size.input_size)).to(device)
        batch = torch.stack([network_input(image, generator.size.input_size) for image in images]).to(device)
        with autocast(device, precision):
            noises = generator(batch, [prompts], use=use)
        return [_fitted(noise, *region.shape) for noise, region in zip(noises.float().cpu(), regions, strict=True)]


def _fitted(noise_3nn: torch.Tensor, height: int, width: int) -> np.ndarray:
    """Enlarged to the square of the image, and cropped to it."""
    return enlarge_to(noise_3nn, height, width).contiguous().numpy()


def _prompts(generator: Generator, masks: Sequence[np.ndarray], prompt: str, seed: int) -> Prompts:
    """One prompt per image."""
    each, size = torch.arange(len(masks)), generator.size
    if prompt in ("mask", "whole"):
        shown = [np.ones_like(mask) for mask in masks] if prompt == "whole" else masks
        return Prompts(image=each, row=each, masks=torch.stack([mask_prompt(mask, size.noise_size) for mask in shown]))
    squares = [square_mask(mask, size.input_size) for mask in masks]
    if prompt == "box":
        boxes = torch.tensor([box_of(square) for square in squares], dtype=torch.float32)
        return Prompts(image=each, row=each, boxes=boxes)
    # Every image's points come from the same seed, so that they do not depend on its neighbours.
    points = [random_points(square, np.random.Generator(np.random.PCG64(seed))) for square in squares]
    return Prompts(image=each, row=each, points=torch.from_numpy(np.stack(points)))


def _small(masks: Sequence[np.ndarray], side: int) -> torch.Tensor | None:
    """Where objects are small, bool [P, 1, side, side]; None if none is."""
    places = [square_mask(small_objects(mask), side) for mask in masks]
    return torch.from_numpy(np.stack(places)[:, None]) if any(place.any() for place in places) else None
