"""Training samples: photographs and masks from any layout, augmented and with their prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample, annotation_for, union_mask
from unseg_core.errors import DataError
from unseg_core.images import decode_image, resize_bilinear
from unseg_core.model.prompts import SamplePrompts, box_of, draw_one, draw_subset, random_points, roughen_mask
from unseg_core.model.sizes import Size
from unseg_core.params import TrainParams
from unseg_core.train.augment import augment

ATTEMPTS = 8
"""Crops that miss the object are drawn again so often; after that the object is scaled into view whole."""


@dataclass(frozen=True, kw_only=True)
class TrainSample:
    """One augmented pair at both resolutions, with prompts for both networks."""

    image: Tensor
    """[3, s, s] float in [0, 1], s = the generator's input size"""
    image_half: Tensor
    label_half: Tensor
    """[1, s/2, s/2] float, soft label in [0, 1]"""
    generator_prompts: SamplePrompts
    generator_kinds: frozenset[str]
    surrogate_prompts: SamplePrompts
    surrogate_kinds: frozenset[str]


def usable_samples(layouts: Sequence[Layout]) -> list[tuple[Layout, Sample]]:
    """All samples of all layouts, in order.

    Raises:
        DataError: there are none.
    """
    found = [(layout, sample) for layout in layouts for sample in layout.samples()]
    if not found:
        raise DataError("the training sources hold no image; check train.sources")
    return found


class TrainDataset(Dataset[TrainSample]):
    """Map-style; `set_epoch` decides the augmentation together with the index and the seed."""

    def __init__(self, samples: Sequence[tuple[Layout, Sample]], size: Size, params: TrainParams) -> None:
        self.samples = samples
        self.size = size
        self.params = params
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> TrainSample:
        layout, sample = self.samples[index]
        entropy = [self.params.seed, self.epoch, index]
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
        image, label = load_pair(layout, sample)
        return make_sample(image, label, rng, self.size, self.params)


def load_pair(layout: Layout, sample: Sample) -> tuple[Tensor, Tensor]:
    """Image uint8 [3, H, W] and union label uint8 [1, H, W], 0 or 255.

    Raises:
        DataError: the image or the mask is damaged, or their sizes differ.
    """
    pixels = decode_image(storage.read_file(storage.join(layout.root, sample.image)), sample.image).pixels
    mask = union_mask(annotation_for(sample, pixels))
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return image, torch.from_numpy(mask.astype(np.uint8) * 255)[None]


def make_sample(image: Tensor, label: Tensor, rng: np.random.Generator, size: Size, params: TrainParams) -> TrainSample:
    """Augment one pair and draw its prompts."""
    side = size.input_size
    for attempt in range(ATTEMPTS):
        jitter = (params.scale_min, params.scale_max) if attempt + 1 < ATTEMPTS else (1.0, 1.0)
        view, soft = augment(image, label, rng, size=side, scale_min=jitter[0], scale_max=jitter[1])
        if (soft > 0.5).any():
            break
    half = side // 2
    image_half, label_half = resize_bilinear(view, half), resize_bilinear(soft, half)
    return TrainSample(
        image=view,
        image_half=image_half,
        label_half=label_half,
        generator_prompts=_prompts(soft, size.noise_size, rng),
        generator_kinds=draw_subset(rng),
        surrogate_prompts=_prompts(label_half, size.noise_size // 2, rng),
        surrogate_kinds=draw_one(rng),
    )


def _prompts(label_1HW: Tensor, mask_size: int, rng: np.random.Generator) -> SamplePrompts:
    """Box, points and a roughened mask prompt in the coordinates of `label`."""
    mask = (label_1HW[0] > 0.5).numpy()
    prompt = resize_bilinear(label_1HW, mask_size).round()[None] * 255.0
    normal = torch.from_numpy(rng.standard_normal(tuple(prompt.shape), dtype=np.float32))
    return SamplePrompts(
        box=torch.tensor(box_of(mask), dtype=torch.float32),
        points=torch.from_numpy(random_points(mask, rng)),
        mask=roughen_mask(prompt, normal)[0],
    )
