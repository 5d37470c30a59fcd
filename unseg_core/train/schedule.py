"""Which samples are used when: decided by the seed alone, whatever number of processes and workers share the work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unseg_core.params import TrainParams

Phase = Literal["surrogate", "generator"]
Draw = tuple[int, int]
"""Epoch and index of a sample; together with the seed they decide its augmentation."""

ORDER_STREAM = 1
"""Keeps the random numbers of the order apart from those of the samples."""


def phase_of(epoch: int, surrogate_every: int) -> Phase:
    """Epochs 0, k, 2k, ... train the surrogate."""
    return "surrogate" if epoch % surrogate_every == 0 else "generator"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """All steps of a run, counted through: step s belongs to epoch s // steps_per_epoch."""

    samples: int
    params: TrainParams

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.samples // self.params.batch_size)

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.params.epochs

    def epoch_of(self, step: int) -> int:
        return step // self.steps_per_epoch

    def phase(self, epoch: int) -> Phase:
        return phase_of(epoch, self.params.surrogate_every)

    def learning_rate(self, epoch: int) -> float:
        return self.params.learning_rate * (0.1 if epoch >= self.params.decay_epoch else 1.0)

    def order(self, epoch: int) -> np.ndarray:
        """The samples of an epoch, shuffled."""
        seed = np.random.SeedSequence([self.params.seed, epoch], spawn_key=(ORDER_STREAM,))
        return np.random.Generator(np.random.PCG64(seed)).permutation(self.samples)

    def part_count(self, step: int, process: int, processes: int) -> int:
        """How many parts `parts` yields for one step; may be 0."""
        length = min(self.params.batch_size, self.samples - self._first(step))
        mine = length // processes + (process < length % processes)
        return -(-mine // (self.params.micro_batch or max(1, mine)))

    def parts(self, first_step: int, process: int, processes: int) -> Iterator[list[Draw]]:
        """What one process does from `first_step` to the end: its share of each batch, in parts that fit its memory."""
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for step in range(first_step, self.steps):
            if self.epoch_of(step) != epoch:
                epoch = self.epoch_of(step)
                order = self.order(epoch)
            batch = order[self._first(step) : self._first(step) + self.params.batch_size]
            mine = np.array_split(batch, processes)[process]
            size = self.params.micro_batch or max(1, len(mine))
            yield from ([(epoch, int(i)) for i in mine[at : at + size]] for at in range(0, len(mine), size))

    def _first(self, step: int) -> int:
        """Where a step's batch begins in its epoch."""
        return step % self.steps_per_epoch * self.params.batch_size
