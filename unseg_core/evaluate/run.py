"""Evaluations: train on versions of a data set, test on clean images, over several seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from unseg_core.device import Precision, choose_precision, prepare_device
from unseg_core.errors import TrainingError
from unseg_core.evaluate.checkpoint import CurvePoint
from unseg_core.evaluate.image_scores import ImageScore
from unseg_core.evaluate.side_by_side import Named, run_side_by_side
from unseg_core.evaluate.training import ALONE, SeedResult, Split, score_model, train_and_test
from unseg_core.params import EvaluateParams, RuntimeParams
from unseg_core.storage import write_file
from unseg_core.train.processes import Processes, join_processes

__all__ = [
    "CurvePoint",
    "Evaluation",
    "SeedResult",
    "Split",
    "evaluate_all",
    "evaluate_seeds",
    "precision_of",
    "score_model",
    "train_and_test",
]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A version of a data set to train on, with every seed."""

    name: str = ""
    """In messages."""
    open_train: Callable[[], Split]
    """Its training images; asked for only while a seed is left to train."""
    work: Path
    """Folder of results and checkpoints."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One seed of an evaluation."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    params: EvaluateParams
    seed: int
    runtime: RuntimeParams
    work: Path
    processes: Processes


def evaluate_seeds(
    train: Split,
    test: Split,
    classes: tuple[str, ...],
    params: EvaluateParams,
    runtime: RuntimeParams,
    work: Path,
    *,
    processes: Processes = ALONE,
) -> list[SeedResult]:
    """As evaluate_all, of one version."""
    one = Evaluation(open_train=lambda: train, work=work)
    return evaluate_all([one], test, classes, params, runtime, processes=processes)[0]


def evaluate_all(
    evaluations: Sequence[Evaluation],
    test: Split,
    classes: tuple[str, ...],
    params: EvaluateParams,
    runtime: RuntimeParams,
    *,
    processes: Processes = ALONE,
) -> list[list[SeedResult]]:
    """Train and test every evaluation once per seed. Finished seeds are kept in its `work` and not trained again;
    others go on from their last epoch. A seed that fails does not stop the others.

    Args:
        processes: that train each seed together (`torchrun`); without them, params.parallel trainings run side by side.

    Raises:
        TrainingError: the loss of a seed is not finite.
        DataError: a file is damaged.
    """
    own = [[seed for seed in params.seeds if not _result_file(one.work, seed).exists()] for one in evaluations]
    todo = processes.gather(own)[0]
    alone = processes.count == 1
    share = replace(runtime, threads=max(1, runtime.threads // params.parallel)) if alone else runtime
    make = partial(_Job, test=test, classes=classes, params=params, runtime=share, processes=processes)
    jobs = _jobs(zip(evaluations, todo, strict=True), make)
    parallel = min(params.parallel, sum(map(len, todo))) if alone else 1
    if parallel > 1:
        named = (Named(name=f"{job.name} seed {job.seed}".strip(), job=job) for job in jobs)
        failures = run_side_by_side(_run_seed, named, parallel)
    else:
        failures = [message for message in map(_run_seed, jobs) if message]
    prepare_device(runtime)
    if failures:
        kept = [
            f"{one.name} {seed}".strip()
            for one in evaluations
            for seed in params.seeds
            if _result_file(one.work, seed).exists()
        ]
        raise TrainingError(f"{'; '.join(failures)} (seeds finished and kept: {', '.join(kept) or 'none'})")
    return [[read_result(_result_file(one.work, seed)) for seed in params.seeds] for one in evaluations]


def _jobs(todo: Iterable[tuple[Evaluation, Sequence[int]]], make: Callable[..., _Job]) -> Iterator[_Job]:
    """One version after the other, so that the images of few are held at a time."""
    for one, seeds in todo:
        if seeds:
            train = one.open_train()
            yield from (make(name=one.name, train=train, seed=seed, work=one.work) for seed in seeds)


def _result_file(work: Path, seed: int) -> Path:
    return work / f"seed{seed}.json"


def _run_seed(job: _Job, place: int = 0) -> str:
    """Train and write the result; returns why it could not be trained, if it could not."""
    processes = job.processes
    if processes.count == 1:
        # Those side by side share out the GPUs.
        processes = replace(processes, local_rank=place % max(1, torch.cuda.device_count()))
    device = join_processes(processes, prepare_device(job.runtime))
    result, checkpoint = _result_file(job.work, job.seed), job.work / f"seed{job.seed}.pt"
    try:
        found = train_and_test(
            job.train,
            job.test,
            job.classes,
            job.params,
            job.seed,
            device,
            precision=precision_of(job.params, job.runtime, device),
            checkpoint=checkpoint,
            processes=processes,
            name=job.name,
        )
    except TrainingError as error:
        return f"{job.name}: {error}" if job.name else str(error)
    if processes.first:
        write_file(str(result), json.dumps(asdict(found)).encode())
        checkpoint.unlink(missing_ok=True)
    processes.wait()
    return ""


def precision_of(params: EvaluateParams, runtime: RuntimeParams, device: torch.device) -> Precision:
    """What the downstream models compute in."""
    wanted = runtime.precision if params.precision == "runtime" else params.precision
    return choose_precision(wanted, device)


def read_result(path: Path) -> SeedResult:
    """What an evaluation has written for a seed."""
    values: dict[str, Any] = json.loads(path.read_text())
    curve = tuple(CurvePoint(**point) for point in values["curve"])
    images = tuple(
        ImageScore(id=one["id"], sums={name: tuple(pair) for name, pair in one["sums"].items()})
        for one in values["images"]
    )
    return SeedResult(**{**values, "curve": curve, "images": images})
