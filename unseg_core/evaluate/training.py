"""One training of a downstream model, and its test on clean images."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from unseg_core.device import Precision, autocast
from unseg_core.errors import ParameterError, TrainingError
from unseg_core.evaluate.ahead import BatchesAhead
from unseg_core.evaluate.batch import Batch, Draws, PartOfDraws
from unseg_core.evaluate.checkpoint import CurvePoint, Standing, Stateful, load_checkpoint, save_checkpoint
from unseg_core.evaluate.defences import Defended, defend, parse_defences
from unseg_core.evaluate.image_scores import ImageScore
from unseg_core.evaluate.models import DownstreamModel, build_model
from unseg_core.evaluate.scoring import METERS, SEMANTIC, Scores
from unseg_core.params import EvaluateParams
from unseg_core.progress import progress
from unseg_core.train.processes import Processes

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises to its maximum (one-cycle)."""
SAVING = 0.05
"""Share of the time that may go into checkpoints: where epochs are short they are not written after every one."""
ALONE = Processes()


class Split(Protocol):
    """Images with what a task is about: LabelledImages or SegmentedImages."""

    @property
    def ids(self) -> tuple[str, ...]: ...

    def batch(self, rows: Sequence[int], device: torch.device, rng: Draws | None = None) -> Batch:
        """Some of them; mirrored at random with `rng`."""
        ...


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    seed: int
    iou: float
    """The task's main score (unseg_core.evaluate.scoring.METERS), 0 to 1; IoU for most."""
    class_iou: dict[str, float]
    """The same by class."""
    train_loss: float
    curve: tuple[CurvePoint, ...]
    scores: dict[str, float] = field(default_factory=dict)
    """All scores of the task by name."""
    images: tuple[ImageScore, ...] = ()
    """What every test image added to the main score, in the order of the test set."""


def train_and_test(
    train: Split,
    test: Split,
    classes: tuple[str, ...],
    params: EvaluateParams,
    seed: int,
    device: torch.device,
    *,
    precision: Precision = "fp32",
    checkpoint: Path | None = None,
    processes: Processes = ALONE,
    name: str = "",
) -> SeedResult:
    """One training: AdamW, one-cycle schedule, horizontal flips, and the loss of the model.

    Args:
        checkpoint: written after epochs, as often as SAVING allows, and continued from; None: no restart.
        processes: that train together, each on its part of every batch; the result is the same in all.
        name: of what is trained on, where progress is shown.

    Raises:
        TrainingError: the loss is not finite.
        ParameterError: an unknown model, encoder or defence.
        ExtraError: a library that the model needs is not installed.
    """
    training = Training(
        train, test, classes, params, seed, device, precision=precision, checkpoint=checkpoint, processes=processes,
        name=name,
    )  # fmt: skip
    return training.run()


class Training:
    """A model on its way through the epochs."""

    def __init__(
        self,
        train: Split,
        test: Split,
        classes: tuple[str, ...],
        params: EvaluateParams,
        seed: int,
        device: torch.device,
        *,
        precision: Precision,
        checkpoint: Path | None,
        processes: Processes,
        name: str = "",
    ) -> None:
        attacks = any(defence.rule is not None for _, defence, _ in parse_defences(params.defences))
        needed = (2 if attacks else 1) * processes.count
        if needed > params.batch_size:
            why = ": one is attacked, the other is not" if attacks else ""
            given = f"evaluate.batch_size is {params.batch_size} for {processes.count} processes"
            raise ParameterError(f"{given}; give at least {needed}{why}")
        torch.manual_seed(seed)
        self.train, self.test, self.classes = train, test, classes
        self.params, self.seed, self.device = params, seed, device
        self.precision, self.checkpoint, self.processes = precision, checkpoint, processes
        self.label = f"{name} seed {seed}".strip()
        self.model = _on_device(build_model(params, len(classes)), params, device, processes)
        self.defended: Defended = defend(self.model, params)
        if processes.count > 1:
            # The same weights in all, but not the same dropout.
            torch.manual_seed(seed * processes.count + processes.rank)
        steps = params.epochs * (len(train.ids) // params.batch_size or 1)
        self.trained = [one for one in self._all_parameters() if one.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, lr=params.learning_rate, weight_decay=params.weight_decay)
        # torch divides by zero where the warm-up is exactly one step.
        warm_up = WARM_UP if WARM_UP * steps != 1 else math.nextafter(WARM_UP, 1)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, max_lr=params.learning_rate, total_steps=steps, pct_start=warm_up
        )
        self.waited = 0.0
        """Seconds in which the model waited for data."""
        self.next_save = 0.0
        """When a checkpoint is due (time.monotonic)."""

    def _all_parameters(self) -> list[nn.Parameter]:
        return [*self.model.parameters(), *self.defended.parameters()]

    def run(self) -> SeedResult:
        """Train to the end, from the checkpoint where there is one."""
        standing = load_checkpoint(self.checkpoint, self._parts(), self.processes) if self.checkpoint else None
        curve = standing.curve if standing else []
        scores = Scores(main=0.0, by_class={})
        parent = os.getppid()
        with progress(self.label, self.params.epochs, "epochs", kept=len(curve)) as advance:
            for epoch in range(len(curve), self.params.epochs):
                if self.processes.count > 1 and os.getppid() != parent:
                    raise KeyboardInterrupt  # torchrun was killed
                loss = self.train_epoch(epoch)
                last = epoch + 1 == self.params.epochs
                tested = last or (epoch + 1) % self.params.test_every == 0
                if tested:
                    scores = self.test_now()
                point = CurvePoint(
                    seed=self.seed, epoch=epoch, train_loss=loss, test_iou=scores.main if tested else None
                )
                curve.append(point)
                if self.checkpoint and standing and not last:
                    self._save(self.checkpoint, standing)
                advance(1)
        return self._result(curve, scores)

    def _save(self, path: Path, standing: Standing) -> None:
        start = time.monotonic()
        if self.processes.gather(start >= self.next_save)[0]:
            save_checkpoint(path, self._parts(), standing, self.processes)
            now = time.monotonic()
            self.next_save = now + (now - start) / SAVING

    def _parts(self) -> dict[str, Stateful]:
        return {
            "model": self.model,
            "defended": self.defended,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
        }

    def _result(self, curve: Sequence[CurvePoint], scores: Scores) -> SeedResult:
        pairs = zip(self.test.ids, scores.images, strict=True)
        return SeedResult(
            seed=self.seed,
            iou=scores.main,
            class_iou=scores.by_class,
            train_loss=curve[-1].train_loss,
            curve=tuple(curve),
            scores=scores.values,
            images=tuple(ImageScore(id=one, sums=sums) for one, sums in pairs),
        )

    def train_epoch(self, epoch: int) -> float:
        """Mean loss over one epoch; the last, smaller batch is left out unless it is the only one."""
        self.model.train()
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, epoch])))
        order = rng.permutation(len(self.train.ids)).tolist()
        size = min(self.params.batch_size, len(order))
        steps = [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
        rank, count = self.processes.rank, self.processes.count
        draws: Draws = rng if count == 1 else PartOfDraws(rng, size, rank, count)
        ahead = BatchesAhead(
            lambda rows: self.train.batch(rows, self.device, draws), [rows[rank::count] for rows in steps]
        )
        losses = []
        for batch in ahead:
            losses.append(self._step(batch, len(batch.images) / size, epoch))
        self.waited += ahead.waited
        self._share_buffers()
        return float(np.mean(losses))

    def _step(self, batch: Batch, weight: float, epoch: int) -> float:
        """One step on this process's part of a batch; `weight` is its share of the images."""
        with autocast(self.device, self.precision):
            loss = self.defended.loss(batch)
        loss = loss if weight == 1 else loss * weight
        value = float(self.processes.sum(loss.detach().cpu().double()))
        if not np.isfinite(value):
            raise TrainingError(
                f"the loss is {value} in epoch {epoch} of seed {self.seed}; lower evaluate.learning_rate or set "
                "evaluate.clip_norm"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.processes.sum_gradients(self.trained)
        if self.params.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.trained, self.params.clip_norm)
        self.optimiser.step()
        self.schedule.step()
        return value

    def _share_buffers(self) -> None:
        """Give all processes the mean of what each has counted, as the running statistics of normalisation."""
        if self.processes.count == 1:
            return
        for buffer in self.model.buffers():
            total = self.processes.sum(buffer.detach().cpu().double())
            mean = total > 0 if buffer.dtype == torch.bool else total / self.processes.count
            buffer.copy_(mean.to(buffer.dtype))

    def test_now(self) -> Scores:
        """Scores on the test images, found by the first process and told to all."""
        scores = None
        if self.processes.first:
            with autocast(self.device, self.precision):
                scores = score_model(self.defended, self.test, self.classes, self.params, self.device)
        found: Scores = self.processes.gather(scores)[0]
        return found


def _on_device(
    model: DownstreamModel, params: EvaluateParams, device: torch.device, processes: Processes
) -> DownstreamModel:
    if processes.count > 1 and device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    if params.task in SEMANTIC:
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks the form
    return model.to(device)


class Predictor(Protocol):
    """A downstream model, or one with its defences."""

    def eval(self) -> object: ...

    def predict(self, batch: Batch) -> object: ...


@torch.inference_mode()
def score_model(
    model: Predictor, data: Split, classes: tuple[str, ...], params: EvaluateParams, device: torch.device
) -> Scores:
    """The scores of the recipe's task over all images."""
    model.eval()
    meter = METERS[params.task][1](classes)
    size = params.batch_size
    rows = [list(range(start, min(start + size, len(data.ids)))) for start in range(0, len(data.ids), size)]
    for batch in BatchesAhead(lambda some: data.batch(some, device), rows):
        meter.update(model.predict(batch), batch)
    return meter.result()
