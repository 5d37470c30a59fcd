"""What a training would take, from a few measured steps on this machine."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass

import torch

from unseg_core.errors import TrainingError
from unseg_core.model.weights import count_parameters
from unseg_core.train.dataset import TrainDataset, TrainSample
from unseg_core.train.loop import Run, freeze
from unseg_core.train.schedule import Phase, Schedule
from unseg_core.train.step import Batch, collate, forward_step, to_device

MEASURED_STEPS = 2
"""After one that warms up."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes and times of a run."""

    device: str
    processes: int
    images: int
    parameters: int
    """Of the generator."""
    trained_parameters: int
    surrogate_parameters: int
    batch_size: int
    part: int
    """Images that a process runs at one time."""
    surrogate_steps: int
    generator_steps: int
    surrogate_step_seconds: float
    generator_step_seconds: float
    load_seconds: float
    """One image: reading and augmenting."""
    workers_needed: int
    """Loader workers beside each process that keep its device busy."""
    memory_mb: float
    """Peak of these steps: allocated on a GPU, resident on a CPU."""
    hours: float
    """Of all steps, without validation."""


def plan_training(run: Run) -> Plan:
    """Run a few steps of both phases with the first usable images; the players are spoilt by it.

    Raises:
        TrainingError: no image can be used.
    """
    schedule = Schedule(samples=len(run.samples), params=run.params)
    share = -(-run.params.batch_size // run.processes.count)
    part = min(share, run.params.micro_batch or share)
    parts = -(-share // part)
    trained = count_parameters(run.players.generator, trained_only=True)
    batch, load_seconds = _batch(run, part)
    seconds = {phase: parts * _measure(run, batch, phase) for phase in ("surrogate", "generator")}
    epochs = {phase: sum(schedule.phase(e) == phase for e in range(run.params.epochs)) for phase in seconds}
    steps = {phase: count * schedule.steps_per_epoch for phase, count in epochs.items()}
    slowest = min(seconds.values()) / share
    return Plan(
        device=str(batch.image.device),
        processes=run.processes.count,
        images=len(run.samples),
        parameters=count_parameters(run.players.generator),
        trained_parameters=trained,
        surrogate_parameters=count_parameters(run.players.surrogate),
        batch_size=run.params.batch_size,
        part=part,
        surrogate_steps=steps["surrogate"],
        generator_steps=steps["generator"],
        surrogate_step_seconds=seconds["surrogate"],
        generator_step_seconds=seconds["generator"],
        load_seconds=load_seconds,
        workers_needed=max(1, round(1.5 * load_seconds / slowest + 0.5)),
        memory_mb=_peak_mb(batch.image.device),
        hours=sum(steps[phase] * seconds[phase] for phase in steps) / 3600,
    )


def _batch(run: Run, count: int) -> tuple[Batch, float]:
    """The first `count` usable samples, repeated where there are fewer; and the seconds that one takes to load."""
    dataset = TrainDataset(run.samples, run.players.generator.size, run.params)
    start, tried = time.perf_counter(), 0
    usable: list[TrainSample] = []
    while tried < len(dataset) and len(usable) < count:
        sample = dataset[0, tried]
        tried += 1
        if isinstance(sample, TrainSample):
            usable.append(sample)
    seconds = (time.perf_counter() - start) / tried
    if not usable:
        raise TrainingError("no training sample can be used; check train.sources")
    device = next(run.players.generator.parameters()).device
    return to_device(collate([usable[i % len(usable)] for i in range(count)]), device), seconds


def _measure(run: Run, batch: Batch, phase: Phase) -> float:
    """Seconds of one part of a step: forward, backward and the optimiser."""
    players, optimiser = run.players, run.players.optimiser(phase)
    freeze(players, phase, run.params)
    times = []
    for _ in range(1 + MEASURED_STEPS):
        start = time.perf_counter()
        result = forward_step(players.generator, players.surrogate, batch, phase, run.params, run.precision)
        result.loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if batch.image.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
