"""Checkpoints of a training run: everything that a restart continues from, in one file that appears by rename.

All randomness derives from the seed and the position (train/schedule.py), so the position stands for the state of every
random generator. The last two are kept, for the case that the newest cannot be read.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unseg_core.errors import TrainingError
from unseg_core.params import TrainParams
from unseg_core.storage import TEMPORARY_PREFIX
from unseg_core.train.records import EpochRecord, EpochTotals, record_from

if TYPE_CHECKING:
    from unseg_core.train.loop import Players

PATTERN = "checkpoint-*.pt"
KEPT = 2
# They decide how the work is done, not what comes out: a run may go on with others.
FREE = ("micro_batch", "checkpoint_minutes", "gradient_checkpointing", "compile")


@dataclass(kw_only=True)
class Position:
    """How far a run is, and what it has recorded."""

    step: int = 0
    """The next one, counted through all epochs."""
    totals: EpochTotals = field(default_factory=EpochTotals)
    """Of the unfinished epoch."""
    records: list[EpochRecord] = field(default_factory=list)
    """Of the finished epochs."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Samples that were ever left out: id -> reason."""


def recipe_of(params: TrainParams) -> dict[str, Any]:
    """What decides the result, as JSON values."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(params).items()}
    return {name: value for name, value in values.items() if name not in FREE}


def save_checkpoint(work: Path, players: Players, params: TrainParams, position: Position) -> None:
    """Write a checkpoint into `work` and remove all but the last two."""
    work.mkdir(parents=True, exist_ok=True)
    name = f"checkpoint-{position.step:09d}.pt"
    partial = work / f"{TEMPORARY_PREFIX}{name}"
    state = {key: part.state_dict() for key, part in _parts(players).items()}
    with partial.open("wb") as file:
        torch.save({"recipe": recipe_of(params), "position": asdict(position), "state": state}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, work / name)
    for old in sorted(work.glob(PATTERN))[:-KEPT]:
        old.unlink()


def load_checkpoint(work: Path, players: Players, params: TrainParams) -> Position:
    """Fill the players from the newest readable checkpoint in `work`; the beginning if there is none.

    Raises:
        TrainingError: the checkpoint was made with another recipe, or there are only unreadable ones.
    """
    found = sorted(work.glob(PATTERN), reverse=True)
    for path in found:
        # What torch.load raises for damaged files.
        with contextlib.suppress(RuntimeError, EOFError, OSError, KeyError, pickle.UnpicklingError):
            saved = torch.load(path, map_location="cpu", weights_only=True)
            # What the recipes of its version did not have yet is as it was: at its default.
            if {**recipe_of(TrainParams()), **saved["recipe"]} != recipe_of(params):
                raise TrainingError(f"{path} was made with another recipe; remove it to start again")
            for name, part in _parts(players).items():
                part.load_state_dict(saved["state"][name])
            return _position_from(saved["position"])
        print(f"{path} cannot be read; trying the one before", file=sys.stderr)
    if found:
        raise TrainingError(f"no checkpoint in {work} can be read; remove them to start again")
    return Position()


def _position_from(saved: dict[str, Any]) -> Position:
    return Position(
        step=saved["step"],
        totals=EpochTotals(**saved["totals"]),
        records=[record_from(values) for values in saved["records"]],
        skipped=saved["skipped"],
    )


def _parts(players: Players) -> dict[str, Any]:
    return {
        "generator": players.generator,
        "surrogate": players.surrogate,
        "generator_optimiser": players.generator_optimiser,
        "surrogate_optimiser": players.surrogate_optimiser,
    }
