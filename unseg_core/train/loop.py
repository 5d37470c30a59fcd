"""The alternation: surrogate epochs and generator epochs, with a checkpoint after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.optim import Adam
from torch.utils.data import DataLoader

from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample
from unseg_core.device import Precision
from unseg_core.errors import TrainingError
from unseg_core.model.generator import Generator
from unseg_core.model.surrogate import Surrogate
from unseg_core.params import TrainParams
from unseg_core.progress import progress
from unseg_core.train.checkpoint import load_checkpoint, save_checkpoint
from unseg_core.train.dataset import TrainDataset
from unseg_core.train.step import Phase, collate, forward_step, phase_of, to_device


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """Mean losses of one epoch."""

    epoch: int
    phase: Phase
    loss: float
    loss_bce: float
    loss_dice: float
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class Players:
    """Both networks with an optimiser each, so that nothing frozen moves."""

    generator: Generator
    surrogate: Surrogate
    generator_optimiser: Adam
    surrogate_optimiser: Adam

    def optimiser(self, phase: Phase) -> Adam:
        return self.surrogate_optimiser if phase == "surrogate" else self.generator_optimiser


def make_players(generator: Generator, surrogate: Surrogate, params: TrainParams, device: torch.device) -> Players:
    generator.train_only_noise(not params.train_sam)
    generator, surrogate = generator.to(device), surrogate.to(device)
    learned = [p for p in generator.parameters() if p.requires_grad]
    return Players(
        generator=generator,
        surrogate=surrogate,
        generator_optimiser=Adam(learned, lr=params.learning_rate, fused=True),
        surrogate_optimiser=Adam(surrogate.parameters(), lr=params.learning_rate, fused=True),
    )


def train(
    players: Players,
    samples: Sequence[tuple[Layout, Sample]],
    params: TrainParams,
    work: Path,
    *,
    precision: Precision = "fp32",
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
) -> list[EpochRecord]:
    """Train to the last epoch, continuing from a checkpoint in `work`.

    Everything random derives from (seed, epoch, index), so a continued run ends with the same weights.

    Raises:
        TrainingError: the loss is not finite, or the checkpoint belongs to other parameters.
        DataError: a training image or mask is damaged.
    """
    dataset = TrainDataset(samples, players.generator.size, params)
    records = load_checkpoint(work, players, params, EpochRecord)
    for epoch in range(len(records), params.epochs):
        record = _run_epoch(players, dataset, params, epoch, precision)
        records.append(record)
        save_checkpoint(work, players, params, [asdict(r) for r in records])
        on_epoch(record)
    return records


def _run_epoch(
    players: Players, dataset: TrainDataset, params: TrainParams, epoch: int, precision: Precision
) -> EpochRecord:
    phase = phase_of(epoch, params.surrogate_every)
    optimiser = players.optimiser(phase)
    freeze(players, phase, params)
    rate = params.learning_rate * (0.1 if epoch >= params.decay_epoch else 1.0)
    for group in optimiser.param_groups:
        group["lr"] = rate
    dataset.epoch = epoch
    random = torch.Generator().manual_seed(params.seed * 1_000_003 + epoch)
    loader = DataLoader(dataset, batch_size=params.batch_size, shuffle=True, generator=random, collate_fn=collate)
    device = next(players.generator.parameters()).device
    totals, count = torch.zeros(3), 0
    with progress(f"epoch {epoch + 1}/{params.epochs} ({phase})", len(dataset)) as advance:
        for batch in loader:
            there = to_device(batch, device)
            result = forward_step(
                players.generator, players.surrogate, there, phase, params, random, precision=precision
            )
            if not torch.isfinite(result.loss):
                raise TrainingError(f"the loss is {result.loss.item()} in epoch {epoch}; lower train.learning_rate")
            result.loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            size = batch.image.shape[0]
            totals += torch.stack([result.loss, result.bce, result.dice]).detach().cpu() * size
            count += size
            advance(size)
    loss, bce, dice = (totals / count).tolist()
    return EpochRecord(epoch=epoch, phase=phase, loss=loss, loss_bce=bce, loss_dice=dice, learning_rate=rate)


def freeze(players: Players, phase: Phase, params: TrainParams) -> None:
    """Let only the phase's player collect gradients."""
    players.surrogate.requires_grad_(phase == "surrogate")
    if phase == "generator":
        players.generator.train_only_noise(not params.train_sam)
    else:
        players.generator.requires_grad_(False)
