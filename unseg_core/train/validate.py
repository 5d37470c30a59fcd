"""Validation: how well the surrogate segments whole images that it has not seen, noised and clean.

Both networks get the object's box. Noised below clean would mean that the noise hides nothing; the generator wants the
surrogate to need its noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample
from unseg_core.device import Precision, autocast
from unseg_core.errors import TrainingError
from unseg_core.mask_metrics import boundary_iou, iou
from unseg_core.model.generator import Generator
from unseg_core.model.surrogate import Surrogate, surrogate_input
from unseg_core.params import TrainParams
from unseg_core.train.dataset import SkippedSample, TrainSample, ViewDataset
from unseg_core.train.processes import Processes
from unseg_core.train.step import Batch, collate, to_device

BATCH = 4


@dataclass(frozen=True, kw_only=True)
class ValidationSet:
    """A named set of samples."""

    name: str
    samples: Sequence[tuple[Layout, Sample]]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Means over the images of one set, at the surrogate's resolution."""

    images: int
    skipped: int
    """Images that cannot be read or show no object."""
    iou_noised: float
    iou_clean: float
    boundary_iou_noised: float
    boundary_iou_clean: float


@torch.no_grad()
def validate(
    generator: Generator,
    surrogate: Surrogate,
    one: ValidationSet,
    params: TrainParams,
    *,
    precision: Precision = "fp32",
    processes: Processes | None = None,
    workers: int = 0,
) -> Scores:
    """Score the surrogate on one set, shared by all processes.

    Raises:
        TrainingError: the set has no usable image.
    """
    processes = processes or Processes()
    dataset = ViewDataset(one.samples, generator.size, params)
    count = min(len(dataset), params.validation_images or len(dataset))
    mine = Subset(dataset, range(processes.rank, count, processes.count))
    loader = DataLoader(
        mine,
        BATCH,
        collate_fn=_usable,
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
    )
    device = next(generator.parameters()).device
    totals = torch.zeros(6, dtype=torch.float64)
    for batch, skipped in loader:
        totals[5] += skipped
        if batch is not None:
            totals[:5] += _score(generator, surrogate, to_device(batch, device), params, precision)
    *sums, images, skips = processes.sum(totals).tolist()
    if not images:
        raise TrainingError(f"the validation set {one.name} has no usable image; check train.validation")
    noised, clean, boundary_noised, boundary_clean = (value / images for value in sums)
    return Scores(
        images=int(images),
        skipped=int(skips),
        iou_noised=noised,
        iou_clean=clean,
        boundary_iou_noised=boundary_noised,
        boundary_iou_clean=boundary_clean,
    )


def _usable(samples: Sequence[TrainSample | SkippedSample]) -> tuple[Batch | None, int]:
    kept = [sample for sample in samples if isinstance(sample, TrainSample)]
    return collate(kept) if kept else None, len(samples) - len(kept)


def _score(
    generator: Generator, surrogate: Surrogate, batch: Batch, params: TrainParams, precision: Precision
) -> Tensor:
    """Sums over a batch, in the order of `Scores`, then its size."""
    with autocast(batch.image.device, precision):
        noise = generator(batch.image, batch.generator_prompts).float()
        noised = surrogate_input(
            batch.image_half, noise, batch.label_half, epsilon=params.epsilon, epsilon_bg=params.epsilon_bg
        )
        masks = [
            predicted_mask(surrogate(image, batch.surrogate_prompts).float(), batch.label_half.shape[-1])
            for image in (noised, batch.image_half)
        ]
    true = batch.label_half[:, 0] > 0.5
    values = [metric(mask, true).sum() for metric in (iou, boundary_iou) for mask in masks]
    return torch.tensor([*(value.item() for value in values), batch.count], dtype=torch.float64)


def predicted_mask(logits_B1HW: Tensor, side: int) -> Tensor:
    """Bool masks [B, side, side] from the surrogate's logits."""
    return F.interpolate(logits_B1HW, size=(side, side), mode="bilinear", align_corners=False)[:, 0] > 0
