"""One evaluation: train on one version of a data set, test on clean images, over several seeds."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unseg_core.data.sample import IGNORE_INDEX
from unseg_core.device import prepare_device
from unseg_core.errors import TrainingError
from unseg_core.evaluate.dataset import LabelledImages
from unseg_core.evaluate.metrics import IouMeter
from unseg_core.evaluate.models import build_model
from unseg_core.model.parts import normalise
from unseg_core.params import EvaluateParams, RuntimeParams
from unseg_core.progress import progress
from unseg_core.storage import write_file

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises to its maximum (one-cycle)."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One epoch; `test_iou` is None where it was not measured."""

    seed: int
    epoch: int
    train_loss: float
    test_iou: float | None


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    seed: int
    iou: float
    class_iou: dict[str, float]
    train_loss: float
    curve: tuple[CurvePoint, ...]


def evaluate_seeds(
    train: LabelledImages,
    test: LabelledImages,
    classes: tuple[str, ...],
    params: EvaluateParams,
    runtime: RuntimeParams,
    work: Path,
) -> list[SeedResult]:
    """Train and test once per seed. Finished seeds are kept in `work` and not trained again."""
    todo = [seed for seed in params.seeds if not _result_file(work, seed).exists()]
    share = replace(runtime, threads=max(1, runtime.threads // params.parallel))
    jobs = [(train, test, classes, params, seed, share, work) for seed in todo]
    if params.parallel > 1 and len(todo) > 1:
        # Spawned, because a forked process may not use CUDA; leaving the pool stops its processes at once.
        with multiprocessing.get_context("spawn").Pool(min(params.parallel, len(todo))) as pool:
            pool.starmap(_run_seed, jobs, chunksize=1)
    else:
        for job in jobs:
            _run_seed(*job)
    prepare_device(runtime)
    return [_read_result(_result_file(work, seed)) for seed in params.seeds]


def _result_file(work: Path, seed: int) -> Path:
    return work / f"seed{seed}.json"


def _run_seed(
    train: LabelledImages,
    test: LabelledImages,
    classes: tuple[str, ...],
    params: EvaluateParams,
    seed: int,
    runtime: RuntimeParams,
    work: Path,
) -> None:
    device = prepare_device(runtime)
    result = train_and_test(train, test, classes, params, seed, device)
    write_file(str(_result_file(work, seed)), json.dumps(asdict(result)).encode())


def _read_result(path: Path) -> SeedResult:
    values: dict[str, Any] = json.loads(path.read_text())
    return SeedResult(**{**values, "curve": tuple(CurvePoint(**point) for point in values["curve"])})


def train_and_test(
    train: LabelledImages,
    test: LabelledImages,
    classes: tuple[str, ...],
    params: EvaluateParams,
    seed: int,
    device: torch.device,
) -> SeedResult:
    """One training from scratch: AdamW, one-cycle schedule, cross-entropy, horizontal flips.

    Raises:
        TrainingError: the loss is not finite.
    """
    torch.manual_seed(seed)
    model = build_model(params, len(classes) + 1).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks the form
    batches = len(train.ids) // params.batch_size or 1
    optimiser = torch.optim.AdamW(model.parameters(), lr=params.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=params.learning_rate, total_steps=params.epochs * batches, pct_start=WARM_UP
    )
    curve: list[CurvePoint] = []
    class_iou: dict[str, float] = {}
    parent = os.getppid()
    with progress(f"seed {seed}", params.epochs, "epochs") as advance:
        for epoch in range(params.epochs):
            if os.getppid() != parent:
                raise KeyboardInterrupt  # whoever wants the result was killed
            loss = _train_epoch(model, train, params, _rng(seed, epoch), optimiser, schedule.step, device)
            iou = None
            if (epoch + 1) % params.test_every == 0 or epoch + 1 == params.epochs:
                iou, class_iou = score_model(model, test, classes, params.batch_size, device)
            curve.append(CurvePoint(seed=seed, epoch=epoch, train_loss=loss, test_iou=iou))
            advance(1)
    final = curve[-1]
    assert final.test_iou is not None
    return SeedResult(
        seed=seed, iou=final.test_iou, class_iou=class_iou, train_loss=final.train_loss, curve=tuple(curve)
    )


def _rng(seed: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))


def _train_epoch(
    model: nn.Module,
    data: LabelledImages,
    params: EvaluateParams,
    rng: np.random.Generator,
    optimiser: torch.optim.Optimizer,
    after_step: Callable[[], None],
    device: torch.device,
) -> float:
    """Mean loss over one epoch; the last, smaller batch is left out unless it is the only one."""
    model.train()
    order = rng.permutation(len(data.ids))
    size = min(params.batch_size, len(order))
    losses = []
    for start in range(0, len(order) - size + 1, size):
        chosen = torch.from_numpy(order[start : start + size])
        images, labels = _flip(data.images[chosen], data.labels[chosen], rng)
        logits = model(_input(images, device))
        loss = F.cross_entropy(logits, labels.long().to(device), ignore_index=IGNORE_INDEX)
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {loss.item()}; lower evaluate.learning_rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        after_step()
        losses.append(loss.item())
    return float(np.mean(losses))


def _flip(images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Flip each image and its labels horizontally with probability 1/2."""
    flipped = torch.from_numpy(rng.random(len(images)) < 0.5)
    images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images)
    return images, torch.where(flipped.view(-1, 1, 1), labels.flip(-1), labels)


def _input(images: Tensor, device: torch.device) -> Tensor:
    return normalise(images.to(device).float() / 255.0).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def score_model(
    model: nn.Module, data: LabelledImages, classes: tuple[str, ...], batch_size: int, device: torch.device
) -> tuple[float, dict[str, float]]:
    """Mean IoU over the object classes, and IoU by class name."""
    model.eval()
    meter = IouMeter(classes)
    for start in range(0, len(data.ids), batch_size):
        predicted = model(_input(data.images[start : start + batch_size], device)).argmax(1).cpu()
        meter.update(predicted, data.labels[start : start + batch_size].long())
    return meter.result()
