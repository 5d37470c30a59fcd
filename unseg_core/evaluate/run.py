"""One evaluation: train on one version of a data set, test on clean images, over several seeds."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from unseg_core.device import prepare_device
from unseg_core.errors import TrainingError
from unseg_core.evaluate.batch import Batch
from unseg_core.evaluate.models import DownstreamModel, build_model
from unseg_core.evaluate.scoring import METERS, SEMANTIC, Scores
from unseg_core.params import EvaluateParams, RuntimeParams
from unseg_core.progress import progress
from unseg_core.storage import write_file

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises to its maximum (one-cycle)."""


class Split(Protocol):
    """Images with what a task is about: LabelledImages or SegmentedImages."""

    @property
    def ids(self) -> tuple[str, ...]: ...

    def batch(self, rows: Sequence[int], device: torch.device, rng: np.random.Generator | None = None) -> Batch:
        """Some of them; mirrored at random with `rng`."""
        ...


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One epoch; `test_iou` is the task's main score, None where it was not measured."""

    seed: int
    epoch: int
    train_loss: float
    test_iou: float | None


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


def evaluate_seeds(
    train: Split,
    test: Split,
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
    train: Split,
    test: Split,
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
    train: Split,
    test: Split,
    classes: tuple[str, ...],
    params: EvaluateParams,
    seed: int,
    device: torch.device,
) -> SeedResult:
    """One training: AdamW, one-cycle schedule, horizontal flips, and the loss of the model.

    Raises:
        TrainingError: the loss is not finite.
    """
    torch.manual_seed(seed)
    model = _on_device(build_model(params, len(classes)), params, device)
    batches = len(train.ids) // params.batch_size or 1
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=params.learning_rate, weight_decay=params.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=params.learning_rate, total_steps=params.epochs * batches, pct_start=WARM_UP
    )
    curve: list[CurvePoint] = []
    scores = Scores(main=0.0, by_class={})
    parent = os.getppid()
    with progress(f"seed {seed}", params.epochs, "epochs") as advance:
        for epoch in range(params.epochs):
            if os.getppid() != parent:
                raise KeyboardInterrupt  # whoever wants the result was killed
            loss = _train_epoch(model, train, params, _rng(seed, epoch), optimiser, schedule.step, device)
            tested = (epoch + 1) % params.test_every == 0 or epoch + 1 == params.epochs
            if tested:
                scores = score_model(model, test, classes, params, device)
            curve.append(CurvePoint(seed=seed, epoch=epoch, train_loss=loss, test_iou=scores.main if tested else None))
            advance(1)
    return SeedResult(
        seed=seed,
        iou=scores.main,
        class_iou=scores.by_class,
        train_loss=curve[-1].train_loss,
        curve=tuple(curve),
        scores=scores.values,
    )


def _on_device(model: DownstreamModel, params: EvaluateParams, device: torch.device) -> DownstreamModel:
    if params.task in SEMANTIC:
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks the form
    return model.to(device)


def _rng(seed: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))


def _train_epoch(
    model: DownstreamModel,
    data: Split,
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
        loss = model.loss(data.batch(order[start : start + size].tolist(), device, rng))
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {loss.item()}; lower evaluate.learning_rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if params.clip_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), params.clip_norm)
        optimiser.step()
        after_step()
        losses.append(loss.item())
    return float(np.mean(losses))


@torch.inference_mode()
def score_model(
    model: DownstreamModel, data: Split, classes: tuple[str, ...], params: EvaluateParams, device: torch.device
) -> Scores:
    """The scores of the recipe's task over all images."""
    model.eval()
    meter = METERS[params.task][1](classes)
    for start in range(0, len(data.ids), params.batch_size):
        batch = data.batch(range(start, min(start + params.batch_size, len(data.ids))), device)
        meter.update(model.predict(batch), batch)
    return meter.result()
