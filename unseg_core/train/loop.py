"""The alternation: surrogate epochs and generator epochs, in steps that any number of processes share."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Adam

from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample
from unseg_core.device import Precision
from unseg_core.errors import TrainingError
from unseg_core.model.encoder import Execution
from unseg_core.model.generator import Generator
from unseg_core.model.surrogate import Surrogate
from unseg_core.params import TrainParams
from unseg_core.progress import progress
from unseg_core.train.checkpoint import Position, load_checkpoint, save_checkpoint
from unseg_core.train.dataset import SkippedSample, TrainDataset, TrainSample
from unseg_core.train.health import check_health
from unseg_core.train.loader import LoadedPart, load_parts
from unseg_core.train.panel import draw_panel
from unseg_core.train.processes import Processes
from unseg_core.train.records import EpochRecord, EpochTotals
from unseg_core.train.schedule import Phase, Schedule
from unseg_core.train.step import forward_step, save_batch, to_device
from unseg_core.train.validate import Scores, ValidationSet, validate

HEALTH_SAMPLES = 16
PANEL_SAMPLES = 4


@dataclass(frozen=True, kw_only=True)
class Players:
    """Both networks with an optimiser each, so that nothing frozen moves."""

    generator: Generator
    surrogate: Surrogate
    generator_optimiser: Adam
    surrogate_optimiser: Adam

    def optimiser(self, phase: Phase) -> Adam:
        return self.surrogate_optimiser if phase == "surrogate" else self.generator_optimiser


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One step, for those who watch."""

    step: int
    epoch: int
    phase: Phase
    loss: float
    loss_bce: float
    loss_dice: float
    gradient_norm: float
    learning_rate: float
    images_per_second: float
    memory_mb: float
    """Largest so far: allocated on a GPU; 0 on a CPU."""


class Observer(Protocol):
    """Is told how the run goes, in its first process."""

    def step(self, report: StepReport) -> None: ...

    def epoch(self, record: EpochRecord, panel_png: bytes) -> None: ...


class Silent:
    """An observer that does nothing."""

    def step(self, report: StepReport) -> None:
        pass

    def epoch(self, record: EpochRecord, panel_png: bytes) -> None:
        pass


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop and has written a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run: what it learns from and how."""

    players: Players
    samples: Sequence[tuple[Layout, Sample]]
    params: TrainParams
    work: Path
    """Folder of the checkpoints."""
    validation: Sequence[ValidationSet] = ()
    precision: Precision = "fp32"
    processes: Processes = field(default_factory=Processes)
    workers: int = 0
    observer: Observer = field(default_factory=Silent)
    stop: Callable[[], bool] = lambda: False
    """Asked after each step; True writes a checkpoint and raises Interrupted."""


def make_players(generator: Generator, surrogate: Surrogate, params: TrainParams, device: torch.device) -> Players:
    generator.train_only_noise(not params.train_sam)
    generator, surrogate = generator.to(device), surrogate.to(device)
    for network in (generator, surrogate):
        network.execution = Execution(recompute_blocks=params.gradient_checkpointing, compiled=params.compile)
    learned = [p for p in generator.parameters() if p.requires_grad]
    return Players(
        generator=generator,
        surrogate=surrogate,
        generator_optimiser=Adam(learned, lr=params.learning_rate, fused=True),
        surrogate_optimiser=Adam(surrogate.parameters(), lr=params.learning_rate, fused=True),
    )


def train(run: Run) -> Position:
    """Train to the last epoch, continuing from a checkpoint in the work folder.

    Everything random derives from (seed, epoch, index), so a continued run ends with the same weights.

    Raises:
        TrainingError: the loss is not finite, no sample of an epoch can be used, or the checkpoint belongs to another
            recipe.
        Interrupted: `run.stop` said so.
    """
    schedule = Schedule(samples=len(run.samples), params=run.params)
    dataset = TrainDataset(run.samples, run.players.generator.size, run.params)
    position = load_checkpoint(run.work, run.players, run.params)
    parts = load_parts(dataset, schedule, position.step, run.processes, run.workers)
    held = _health_samples(dataset)
    try:
        _run_epochs(run, schedule, position, parts, held)
    except (RuntimeError, OSError):
        # A signal that went to the whole process group has ended the loader's workers too.
        if run.stop() and run.processes.count == 1:
            save_checkpoint(run.work, run.players, run.params, position)
            raise Interrupted from None
        raise
    return position


def _run_epochs(
    run: Run, schedule: Schedule, position: Position, parts: Iterator[LoadedPart], held: Sequence[TrainSample]
) -> None:
    while len(position.records) < run.params.epochs:
        _run_epoch(run, schedule, position, parts)
        record = _finish_epoch(run, schedule, position, held)
        if run.processes.first:
            save_checkpoint(run.work, run.players, run.params, position)
            run.observer.epoch(
                record, draw_panel(run.players.generator, run.players.surrogate, held[:PANEL_SAMPLES], run.params)
            )
        run.processes.wait()


def _run_epoch(run: Run, schedule: Schedule, position: Position, parts: Iterator[LoadedPart]) -> None:
    """The steps that are left of the epoch."""
    epoch = len(position.records)
    phase, end = schedule.phase(epoch), (epoch + 1) * schedule.steps_per_epoch
    freeze(run.players, phase, run.params)
    for group in run.players.optimiser(phase).param_groups:
        group["lr"] = schedule.learning_rate(epoch)
    saved = time.monotonic()
    with _shown(run, f"epoch {epoch + 1}/{run.params.epochs} ({phase})", end - position.step) as advance:
        while position.step < end:
            stop = _run_step(run, schedule, position, parts, phase)
            advance(1)
            due = time.monotonic() - saved > 60 * run.params.checkpoint_minutes
            if run.processes.first and (stop or due):
                save_checkpoint(run.work, run.players, run.params, position)
                saved = time.monotonic()
            if stop:
                run.processes.wait()
                raise Interrupted


def _shown(run: Run, label: str, steps: int) -> AbstractContextManager[Callable[[int], None]]:
    return progress(label, steps, "steps") if run.processes.first else nullcontext(lambda count: None)


def _run_step(run: Run, schedule: Schedule, position: Position, parts: Iterator[LoadedPart], phase: Phase) -> bool:
    """One optimiser step; True if any process was asked to stop."""
    start = time.monotonic()
    # Summed losses (total, BCE, dice), samples, samples left out, processes that are to stop.
    mine = torch.zeros(6, dtype=torch.float64)
    for _ in range(schedule.part_count(position.step, run.processes.rank, run.processes.count)):
        mine += _run_part(run, next(parts), phase, position)
    mine[5] = float(run.stop())
    loss, bce, dice, count, skipped, stop = run.processes.sum(mine).tolist()
    norm = _update(run, position, phase, loss, count) if count else 0.0
    _note(position.totals, loss, bce, dice, count, skipped, norm)
    position.step += 1
    if run.processes.first and count:
        report = StepReport(
            step=position.step - 1,
            epoch=len(position.records),
            phase=phase,
            loss=loss / count,
            loss_bce=bce / count,
            loss_dice=dice / count,
            gradient_norm=norm,
            learning_rate=schedule.learning_rate(len(position.records)),
            images_per_second=count / (time.monotonic() - start),
            memory_mb=_memory_mb(),
        )
        run.observer.step(report)
    return bool(stop)


def _memory_mb() -> float:
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 0.0


def _update(run: Run, position: Position, phase: Phase, loss: float, count: float) -> float:
    """Move the phase's player by the mean gradient of `count` samples; returns the gradient's norm."""
    optimiser = run.players.optimiser(phase)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    run.processes.sum_gradients(parameters)
    gradients = [p.grad for p in parameters if p.grad is not None]
    torch._foreach_div_(gradients, count)
    norm = float(torch.nn.utils.get_total_norm(gradients))
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise TrainingError(
            f"the loss is {loss / count} and the gradient's norm {norm} in step {position.step}, epoch "
            f"{len(position.records)}; {run.work} keeps the last good checkpoint and the batch, if the loss is to "
            "blame; lower train.learning_rate"
        )
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return norm


def _run_part(run: Run, part: LoadedPart, phase: Phase, position: Position) -> Tensor:
    """Forward and backward of one part: its summed losses, and how many samples it had and left out."""
    position.skipped.update({sample.id: sample.reason for sample in part.skipped})
    totals = torch.zeros(6, dtype=torch.float64)
    totals[4] = len(part.skipped)
    if part.batch is None:
        return totals
    generator, surrogate = run.players.generator, run.players.surrogate
    batch = to_device(part.batch, next(generator.parameters()).device)
    result = forward_step(generator, surrogate, batch, phase, run.params, run.precision)
    (result.loss * batch.count).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    losses = torch.stack([result.loss, result.bce, result.dice]).detach().double().cpu()
    if not losses.isfinite().all():
        save_batch(part.batch, run.work / f"not-finite-process-{run.processes.rank}.safetensors", part.ids)
    totals[:3] = losses * batch.count
    totals[3] = batch.count
    return totals


def _note(totals: EpochTotals, loss: float, bce: float, dice: float, count: float, skipped: float, norm: float) -> None:
    totals.loss += loss
    totals.bce += bce
    totals.dice += dice
    totals.samples += int(count)
    totals.skipped += int(skipped)
    totals.gradient_norm += norm
    totals.steps += bool(count)


def _finish_epoch(run: Run, schedule: Schedule, position: Position, held: Sequence[TrainSample]) -> EpochRecord:
    """Health, validation and the record of the epoch that has just ended."""
    totals, epoch = position.totals, len(position.records)
    count = max(1, totals.samples)
    for skipped in run.processes.gather(position.skipped):
        position.skipped.update(skipped)
    last = epoch + 1 == run.params.epochs
    validated = last or (epoch + 1) % run.params.validate_every == 0
    record = EpochRecord(
        epoch=epoch,
        phase=schedule.phase(epoch),
        loss=totals.loss / count,
        loss_bce=totals.bce / count,
        loss_dice=totals.dice / count,
        gradient_norm=totals.gradient_norm / max(1, totals.steps),
        learning_rate=schedule.learning_rate(epoch),
        samples=totals.samples,
        skipped=totals.skipped,
        health=check_health(run.players.generator, run.players.surrogate, held, run.params),
        validation=_validate(run) if validated else {},
    )
    position.records.append(record)
    position.totals = EpochTotals()
    return record


def _health_samples(dataset: TrainDataset) -> list[TrainSample]:
    """A few samples to look at after every epoch, in an augmentation that training does not use.

    Raises:
        TrainingError: no sample can be used.
    """
    found = (dataset[dataset.params.epochs, i] for i in range(len(dataset)))
    usable = (sample for sample in found if isinstance(sample, TrainSample))
    held = list(itertools.islice(usable, HEALTH_SAMPLES))
    if not held:
        first = dataset[dataset.params.epochs, 0]
        why = f"{first.id}: {first.reason} {first.detail}" if isinstance(first, SkippedSample) else ""
        raise TrainingError(f"no training sample can be used ({why.strip()}); check train.sources")
    return held


def _validate(run: Run) -> dict[str, Scores]:
    players = run.players
    how = {"precision": run.precision, "processes": run.processes, "workers": run.workers}
    return {
        one.name: validate(players.generator, players.surrogate, one, run.params, **how)  # type: ignore[arg-type]  # by name
        for one in run.validation
    }


def freeze(players: Players, phase: Phase, params: TrainParams) -> None:
    """Let only the phase's player collect gradients."""
    players.surrogate.requires_grad_(phase == "surrogate")
    if phase == "generator":
        players.generator.train_only_noise(not params.train_sam)
    else:
        players.generator.requires_grad_(False)
