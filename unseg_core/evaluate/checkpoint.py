"""Where the training of one seed stands, written after epochs, so that a killed run goes on from there."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from unseg_core.errors import TrainingError
from unseg_core.storage import TEMPORARY_PREFIX
from unseg_core.train.processes import Processes


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One epoch; `test_iou` is the task's main score, None where it was not measured."""

    seed: int
    epoch: int
    train_loss: float
    test_iou: float | None


@dataclass(kw_only=True)
class Standing:
    """What has been done."""

    curve: list[CurvePoint] = field(default_factory=list)
    """One point for each finished epoch."""


class Stateful(Protocol):
    """Model, optimiser, schedule."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


def save_checkpoint(path: Path, parts: Mapping[str, Stateful], standing: Standing, processes: Processes) -> None:
    """Write it by rename. Every process must call this, because the random state of each goes in."""
    random_states = processes.gather(_random_state())
    if processes.first:
        state = {name: part.state_dict() for name, part in parts.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
        curve = [asdict(point) for point in standing.curve]
        torch.save({"state": state, "curve": curve, "random": random_states}, partial)
        os.replace(partial, path)
    processes.wait()


def load_checkpoint(path: Path, parts: Mapping[str, Stateful], processes: Processes) -> Standing:
    """Fill the parts; the beginning if there is no checkpoint, or none that can be read or is of so many processes.

    Raises:
        TrainingError: it is of another model.
    """
    saved = _read(path)
    if saved is None or len(saved["random"]) != processes.count:
        return Standing()
    try:
        for name, part in parts.items():
            part.load_state_dict(saved["state"][name])
    except (RuntimeError, ValueError, KeyError) as error:
        raise TrainingError(f"{path} is of another model ({error}); remove it to start this seed again") from None
    _restore_random_state(saved["random"][processes.rank])
    return Standing(curve=[CurvePoint(**point) for point in saved["curve"]])


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    # What torch.load raises for damaged files.
    with contextlib.suppress(RuntimeError, EOFError, OSError, KeyError, pickle.UnpicklingError):
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if {"state", "curve", "random"} <= set(saved):
            return saved
    print(f"{path} cannot be read; starting this seed again", file=sys.stderr)
    return None


def _random_state() -> dict[str, Any]:
    device = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {"cpu": torch.get_rng_state(), "cuda": device}


def _restore_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
