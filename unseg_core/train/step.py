"""One training step of either player: loss and what it was made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from unseg_core.device import Precision, autocast
from unseg_core.model.generator import Generator
from unseg_core.model.prompts import Prompts, group
from unseg_core.model.surrogate import Surrogate, surrogate_input
from unseg_core.params import TrainParams
from unseg_core.storage import write_file
from unseg_core.train.dataset import TrainSample
from unseg_core.train.degrade import DrawnDegradation, degrade
from unseg_core.train.losses import importance_points, point_losses
from unseg_core.train.schedule import Phase


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Stacked training samples on one device."""

    image: Tensor
    image_half: Tensor
    label_half: Tensor
    generator_prompts: list[Prompts]
    surrogate_prompts: list[Prompts]
    candidates: Tensor
    """Points of the loss, as in TrainSample, stacked."""
    uniform: Tensor
    degradations: list[tuple[DrawnDegradation, ...]] = field(default_factory=list)
    """Of each sample; empty: none of any."""

    @property
    def count(self) -> int:
        return self.image.shape[0]


@dataclass(frozen=True, kw_only=True)
class StepResult:
    loss: Tensor
    bce: Tensor
    dice: Tensor
    logits: Tensor
    """[B, 1, m, m]"""


def collate(samples: Sequence[TrainSample]) -> Batch:
    """Stack samples; prompts are grouped by kind."""
    return Batch(
        image=torch.stack([s.image for s in samples]),
        image_half=torch.stack([s.image_half for s in samples]),
        label_half=torch.stack([s.label_half for s in samples]),
        generator_prompts=group([s.generator_prompts for s in samples], [s.generator_kinds for s in samples]),
        surrogate_prompts=group([s.surrogate_prompts for s in samples], [s.surrogate_kinds for s in samples]),
        candidates=torch.stack([s.candidates for s in samples]),
        uniform=torch.stack([s.uniform for s in samples]),
        degradations=[s.degradations for s in samples],
    )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """A copy of the batch on `device`."""
    return Batch(
        image=batch.image.to(device),
        image_half=batch.image_half.to(device),
        label_half=batch.label_half.to(device),
        generator_prompts=[prompts.to(device) for prompts in batch.generator_prompts],
        surrogate_prompts=[prompts.to(device) for prompts in batch.surrogate_prompts],
        candidates=batch.candidates.to(device),
        uniform=batch.uniform.to(device),
        degradations=batch.degradations,
    )


def save_batch(batch: Batch, path: Path, ids: Sequence[str]) -> None:
    """Write a batch's images and labels as safetensors, with its samples' ids in the metadata, for inspection."""
    tensors = {name: getattr(batch, name).contiguous() for name in ("image", "image_half", "label_half")}
    write_file(str(path), save(tensors, metadata={"ids": json.dumps(list(ids))}))


def forward_step(
    generator: Generator,
    surrogate: Surrogate,
    batch: Batch,
    phase: Phase,
    params: TrainParams,
    precision: Precision = "fp32",
) -> StepResult:
    """Loss of one phase, mean over the batch, at the batch's points."""
    with autocast(batch.image.device, precision):
        logits, target = forward_logits(generator, surrogate, batch, phase, params)
    logits = logits.float()
    points = importance_points(logits.detach(), batch.candidates, batch.uniform, params.points - batch.uniform.shape[1])
    bce, dice = point_losses(logits, target, points)
    return StepResult(loss=bce + dice, bce=bce, dice=dice, logits=logits)


def forward_logits(
    generator: Generator, surrogate: Surrogate, batch: Batch, phase: Phase, params: TrainParams
) -> tuple[Tensor, Tensor]:
    """The surrogate's logits on the noised images [B, 1, m, m], and the target [B, 1, h, w] in [0, 1].

    The noised images have gone through the batch's degradations. In the surrogate phase the noise has no gradient and
    the target is the true label; in the generator phase the target is all ones over the whole image (or the true label
    without label modification).
    """
    with torch.set_grad_enabled(phase == "generator"):
        noise = generator(batch.image, batch.generator_prompts).float()
    noised = surrogate_input(
        batch.image_half, noise, batch.label_half, epsilon=params.epsilon, epsilon_bg=params.epsilon_bg
    )
    if any(batch.degradations):
        noised = degrade(noised, batch.degradations)
    logits = surrogate(noised, batch.surrogate_prompts)
    ones = phase == "generator" and params.label_modification
    return logits, torch.ones_like(batch.label_half) if ones else batch.label_half
