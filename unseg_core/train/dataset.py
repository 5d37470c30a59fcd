"""Training samples: photographs and masks from any layout, augmented and with their prompts.

A sample that cannot be used never stops a run: it is left out, and counted by the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample, annotation_for, union_mask
from unseg_core.errors import DataError
from unseg_core.image_tensors import resize_bilinear
from unseg_core.images import decode_image
from unseg_core.model.prompts import SamplePrompts, box_of, draw_one, draw_subset, random_points, roughen_mask
from unseg_core.model.sizes import Size
from unseg_core.params import TrainParams
from unseg_core.train.augment import augment, fit
from unseg_core.train.degrade import DrawnDegradation, draw_degradations
from unseg_core.train.losses import draw_points
from unseg_core.train.schedule import Draw

ATTEMPTS = 8
"""Crops that miss the object are drawn again so often; after that the object is scaled into view whole."""
SEEN = 0.5
"""A pixel of a soft label belongs to the object above this."""


@dataclass(frozen=True, kw_only=True)
class TrainSample:
    """One augmented pair at both resolutions, with prompts for both networks."""

    id: str = ""
    image: Tensor
    """[3, s, s] float in [0, 1], s = the generator's input size"""
    image_half: Tensor
    label_half: Tensor
    """[1, s/2, s/2] float, soft label in [0, 1]"""
    generator_prompts: SamplePrompts
    generator_kinds: frozenset[str]
    surrogate_prompts: SamplePrompts
    surrogate_kinds: frozenset[str]
    candidates: Tensor
    """[3P, 2] uniform points (x, y) in [0, 1], from which the loss takes the least certain"""
    uniform: Tensor
    """[P / 4, 2] uniform points of the loss"""
    degradations: tuple[DrawnDegradation, ...] = ()
    """What the noised image goes through on its way to the surrogate"""


@dataclass(frozen=True, kw_only=True)
class SkippedSample:
    """A sample that was left out."""

    id: str
    reason: Literal["damaged", "empty", "vanished"]
    """`damaged`: image or mask cannot be read or do not fit each other; `empty`: no object in the mask; `vanished`: the
    object is too small to be seen at the network's resolution."""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainSource:
    """Where training samples come from."""

    name: str
    layout: Layout


def list_samples(sources: Sequence[TrainSource]) -> list[tuple[Layout, Sample]]:
    """All samples of all sources, in order.

    Raises:
        DataError: a source has none.
    """
    found = []
    for source in sources:
        samples = [(source.layout, sample) for sample in source.layout.samples()]
        if not samples:
            raise DataError(f"the source {source.name} holds no image; check train.sources and train.validation")
        found += samples
    return found


class _Pairs(Dataset[TrainSample | SkippedSample]):
    """Map-style over samples that may turn out to be unusable."""

    def __init__(self, samples: Sequence[tuple[Layout, Sample]], size: Size, params: TrainParams) -> None:
        self.samples = samples
        self.size = size
        self.params = params

    def __len__(self) -> int:
        return len(self.samples)

    def _make(self, index: int, make: Callable[[Tensor, Tensor], TrainSample | None]) -> TrainSample | SkippedSample:
        """What `make` makes of the image and label of one sample, or why there is nothing."""
        layout, sample = self.samples[index]
        try:
            image, label = load_pair(layout, sample)
        except DataError as error:
            return SkippedSample(id=sample.id, reason="damaged", detail=str(error))
        if not label.any():
            return SkippedSample(id=sample.id, reason="empty")
        made = make(image, label)
        return replace(made, id=sample.id) if made else SkippedSample(id=sample.id, reason="vanished")


class TrainDataset(_Pairs):
    """By (epoch, index): they and the seed decide the augmentation."""

    def __getitem__(self, draw: Draw) -> TrainSample | SkippedSample:
        epoch, index = draw
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.params.seed, epoch, index])))
        return self._make(index, lambda image, label: make_sample(image, label, rng, self.size, self.params))


class ViewDataset(_Pairs):
    """By index: whole and unchanged, with their boxes as prompts; for validation."""

    def __getitem__(self, index: int) -> TrainSample | SkippedSample:
        return self._make(index, lambda image, label: make_view(image, label, index, self.size, self.params))


def load_pair(layout: Layout, sample: Sample) -> tuple[Tensor, Tensor]:
    """Image uint8 [3, H, W] and union label uint8 [1, H, W], 0 or 255.

    Raises:
        DataError: the image or the mask is damaged, or their sizes differ.
    """
    pixels = decode_image(storage.read_file(storage.join(layout.root, sample.image)), sample.image).pixels
    mask = union_mask(annotation_for(sample, pixels))
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return image, torch.from_numpy(mask.astype(np.uint8) * 255)[None]


def make_sample(
    image: Tensor, label: Tensor, rng: np.random.Generator, size: Size, params: TrainParams
) -> TrainSample | None:
    """Augment one pair and draw its prompts; None if the object cannot be seen in any view."""
    side = size.input_size
    for attempt in range(ATTEMPTS):
        jitter = (params.scale_min, params.scale_max) if attempt + 1 < ATTEMPTS else (1.0, 1.0)
        view, soft = augment(image, label, rng, size=side, scale_min=jitter[0], scale_max=jitter[1])
        if (soft > SEEN).any():
            made = _with_prompts(view, soft, rng, size, params, draw_subset(rng), draw_one(rng))
            made = _without_place(made) if params.surrogate_prompt == "whole" else made
            return replace(made, degradations=draw_degradations(params.degradations, rng))
    return None


def _without_place(sample: TrainSample) -> TrainSample:
    """With the whole image as the surrogate's prompt."""
    side = sample.label_half.shape[-1] - 1
    prompts = replace(sample.surrogate_prompts, box=torch.tensor([0, 0, side, side], dtype=torch.float32))
    return replace(sample, surrogate_prompts=prompts, surrogate_kinds=frozenset(["box"]))


def make_view(image: Tensor, label: Tensor, seed: int, size: Size, params: TrainParams) -> TrainSample | None:
    """The whole pair with its box as the prompt of both networks; None if the object cannot be seen.

    The surrogate's is the whole image if that is what it is trained with.
    """
    view, soft = fit(image, label, size.input_size)
    if not (soft > SEEN).any():
        return None
    box = frozenset(["box"])
    made = _with_prompts(view, soft, np.random.Generator(np.random.PCG64(seed)), size, params, box, box)
    return _without_place(made) if params.surrogate_prompt == "whole" else made


def _with_prompts(
    view: Tensor,
    soft: Tensor,
    rng: np.random.Generator,
    size: Size,
    params: TrainParams,
    generator_kinds: frozenset[str],
    surrogate_kinds: frozenset[str],
) -> TrainSample:
    half = size.input_size // 2
    label_half = resize_bilinear(soft, half)
    candidates, uniform = draw_points(params.points, rng)
    return TrainSample(
        image=view,
        image_half=resize_bilinear(view, half),
        label_half=label_half,
        generator_prompts=_prompts(soft, size.noise_size, rng),
        generator_kinds=generator_kinds,
        surrogate_prompts=_prompts(label_half, size.noise_size // 2, rng),
        surrogate_kinds=surrogate_kinds,
        candidates=candidates,
        uniform=uniform,
    )


def _prompts(label_1HW: Tensor, mask_size: int, rng: np.random.Generator) -> SamplePrompts:
    """Box, points and a roughened mask prompt in the coordinates of `label`."""
    mask = (label_1HW[0] > SEEN).numpy()
    prompt = resize_bilinear(label_1HW, mask_size).round()[None] * 255.0
    normal = torch.from_numpy(rng.standard_normal(tuple(prompt.shape), dtype=np.float32))
    return SamplePrompts(
        box=torch.tensor(box_of(mask), dtype=torch.float32),
        points=torch.from_numpy(random_points(mask, rng)),
        mask=roughen_mask(prompt, normal)[0],
    )
