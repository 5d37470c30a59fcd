"""Loading: the parts of all steps in order, prepared ahead by worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader

from unseg_core.train.dataset import SkippedSample, TrainDataset, TrainSample
from unseg_core.train.processes import Processes
from unseg_core.train.schedule import Draw, Schedule
from unseg_core.train.step import Batch, collate


@dataclass(frozen=True, kw_only=True)
class LoadedPart:
    """What one process runs at one time."""

    batch: Batch | None
    """None if no sample of the part can be used."""
    ids: tuple[str, ...]
    """Of the batch's samples."""
    skipped: tuple[SkippedSample, ...]


@dataclass(frozen=True, kw_only=True)
class PartSampler:
    """Tells the loader what to fetch; goes on over the ends of epochs, so that the workers never pause."""

    schedule: Schedule
    first_step: int
    processes: Processes

    def __iter__(self) -> Iterator[list[Draw]]:
        return self.schedule.parts(self.first_step, self.processes.rank, self.processes.count)


def load_parts(
    dataset: TrainDataset, schedule: Schedule, first_step: int, processes: Processes, workers: int
) -> Iterator[LoadedPart]:
    """All parts that this process runs from `first_step` on.

    Args:
        workers: processes that prepare them; 0 prepares each when it is asked for.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=PartSampler(schedule=schedule, first_step=first_step, processes=processes),
        collate_fn=_collate,
        num_workers=workers,
        # Not `fork`: the parent has threads, and may have a GPU.
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=_start_worker,
    )
    return iter(loader)


def _start_worker(number: int) -> None:
    torch.set_num_threads(1)
    # A terminal sends it to all; the training itself decides when they end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _collate(samples: Sequence[TrainSample | SkippedSample]) -> LoadedPart:
    kept = [sample for sample in samples if isinstance(sample, TrainSample)]
    return LoadedPart(
        batch=collate(kept) if kept else None,
        ids=tuple(sample.id for sample in kept),
        skipped=tuple(sample for sample in samples if isinstance(sample, SkippedSample)),
    )
