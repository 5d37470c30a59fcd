"""The training checkpoint: both players, their optimisers and the curve so far, in one file, replaced by rename."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from unseg_core.errors import TrainingError
from unseg_core.params import TrainParams
from unseg_core.storage import write_file

if TYPE_CHECKING:
    from unseg_core.train.loop import Players

NAME = "checkpoint.pt"
T = TypeVar("T")


def save_checkpoint(work: Path, players: Players, params: TrainParams, records: list[dict[str, Any]]) -> None:
    """Replace the checkpoint in `work`."""
    buffer = io.BytesIO()
    torch.save({"params": _key(params), "records": records, "state": _state(players)}, buffer)
    write_file(str(work / NAME), buffer.getvalue())


def load_checkpoint(work: Path, players: Players, params: TrainParams, record: Callable[..., T]) -> list[T]:
    """Continue from `work` if it holds a checkpoint: fills the players and returns the curve so far.

    Raises:
        TrainingError: the checkpoint was made with other parameters.
    """
    path = work / NAME
    if not path.exists():
        return []
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if saved["params"] != _key(params):
        raise TrainingError(f"{path} was made with other parameters; remove it to start again")
    for name, part in _parts(players).items():
        part.load_state_dict(saved["state"][name])
    return [record(**values) for values in saved["records"]]


def _key(params: TrainParams) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(params).items()}


def _parts(players: Players) -> dict[str, Any]:
    return {
        "generator": players.generator,
        "surrogate": players.surrogate,
        "generator_optimiser": players.generator_optimiser,
        "surrogate_optimiser": players.surrogate_optimiser,
    }


def _state(players: Players) -> dict[str, Any]:
    return {name: part.state_dict() for name, part in _parts(players).items()}
