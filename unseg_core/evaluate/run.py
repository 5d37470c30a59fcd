"""One evaluation: train on one version of a data set, test on clean images, over several seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unseg_core.device import Precision, choose_precision, prepare_device
from unseg_core.errors import TrainingError
from unseg_core.evaluate.checkpoint import CurvePoint
from unseg_core.evaluate.image_scores import ImageScore
from unseg_core.evaluate.training import ALONE, SeedResult, Split, score_model, train_and_test
from unseg_core.forkserver import start_method
from unseg_core.params import EvaluateParams, RuntimeParams
from unseg_core.storage import write_file
from unseg_core.train.processes import Processes, join_processes

__all__ = ["CurvePoint", "SeedResult", "Split", "evaluate_seeds", "precision_of", "score_model", "train_and_test"]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One seed of an evaluation."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    params: EvaluateParams
    seed: int
    runtime: RuntimeParams
    work: Path
    processes: Processes = ALONE


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
    """Train and test once per seed. Finished seeds are kept in `work` and not trained again; others go on from their
    last epoch. A seed that fails does not stop the others.

    Args:
        processes: that train each seed together (`torchrun`); without them, params.parallel seeds train side by side.

    Raises:
        TrainingError: the loss of a seed is not finite.
    """
    todo = [seed for seed in params.seeds if not _result_file(work, seed).exists()]
    todo = processes.gather(todo)[0]
    alone = processes.count == 1
    share = replace(runtime, threads=max(1, runtime.threads // params.parallel)) if alone else runtime
    jobs = [
        _Job(
            train=train, test=test, classes=classes, params=params, seed=seed, runtime=share, work=work,
            processes=processes,
        )
        for seed in todo
    ]  # fmt: skip
    failures = _side_by_side(jobs, params.parallel) if alone and params.parallel > 1 else _in_turn(jobs)
    prepare_device(runtime)
    if failures:
        kept = [str(seed) for seed in params.seeds if _result_file(work, seed).exists()]
        raise TrainingError(f"{'; '.join(failures)} (seeds finished and kept: {', '.join(kept) or 'none'})")
    return [read_result(_result_file(work, seed)) for seed in params.seeds]


def _in_turn(jobs: Sequence[_Job]) -> list[str]:
    return [message for message in map(_run_seed, jobs) if message]


def _side_by_side(jobs: Sequence[_Job], parallel: int) -> list[str]:
    if len(jobs) < 2:
        return _in_turn(jobs)
    # Leaving the pool stops its processes at once.
    with start_method(__name__).Pool(min(parallel, len(jobs))) as pool:
        return [message for message in pool.imap(_run_seed, jobs) if message]


def _result_file(work: Path, seed: int) -> Path:
    return work / f"seed{seed}.json"


def _run_seed(job: _Job) -> str:
    """Train and write the result; returns why it could not be trained, if it could not."""
    device = join_processes(job.processes, prepare_device(job.runtime))
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
            processes=job.processes,
        )
    except TrainingError as error:
        return str(error)
    if job.processes.first:
        write_file(str(result), json.dumps(asdict(found)).encode())
        checkpoint.unlink(missing_ok=True)
    job.processes.wait()
    return ""


def precision_of(params: EvaluateParams, runtime: RuntimeParams, device: torch.device) -> Precision:
    """What the downstream models compute in."""
    wanted = runtime.precision if params.precision == "runtime" else params.precision
    return choose_precision(wanted, device)


def read_result(path: Path) -> SeedResult:
    """What evaluate_seeds has written for a seed."""
    values: dict[str, Any] = json.loads(path.read_text())
    curve = tuple(CurvePoint(**point) for point in values["curve"])
    images = tuple(
        ImageScore(id=one["id"], sums={name: tuple(pair) for name, pair in one["sums"].items()})
        for one in values["images"]
    )
    return SeedResult(**{**values, "curve": curve, "images": images})
