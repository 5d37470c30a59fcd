"""What a training run measures: sums within an epoch, and a record of each finished epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from unseg_core.train.health import Health
from unseg_core.train.schedule import Phase
from unseg_core.train.validate import Scores


@dataclass(kw_only=True)
class EpochTotals:
    """Sums over the samples and steps of an unfinished epoch."""

    loss: float = 0.0
    bce: float = 0.0
    dice: float = 0.0
    gradient_norm: float = 0.0
    samples: int = 0
    steps: int = 0
    skipped: int = 0


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One finished epoch: mean losses, the state of the noise, and the validation."""

    epoch: int
    phase: Phase
    loss: float
    loss_bce: float
    loss_dice: float
    gradient_norm: float
    """Mean over the steps, of the player that learned."""
    learning_rate: float
    samples: int
    skipped: int
    health: Health
    validation: dict[str, Scores] = field(default_factory=dict)
    """By set; empty in epochs without validation."""

    def row(self) -> dict[str, Any]:
        """As a flat row for CSV; validation as means over the sets, None without."""
        flat = {k: v for k, v in asdict(self).items() if k not in ("health", "validation")}
        return {**flat, **asdict(self.health), **mean_scores(list(self.validation.values()))}


def record_from(saved: dict[str, Any]) -> EpochRecord:
    """The inverse of `dataclasses.asdict`."""
    validation = {name: Scores(**values) for name, values in saved["validation"].items()}
    return EpochRecord(**{**saved, "health": Health(**saved["health"]), "validation": validation})


def mean_scores(scores: Sequence[Scores]) -> dict[str, float | None]:
    """Mean of each score over the sets, under the prefix `validation_`."""
    names = ("iou_noised", "iou_clean", "boundary_iou_noised", "boundary_iou_clean")
    return {
        f"validation_{name}": sum(getattr(one, name) for one in scores) / len(scores) if scores else None
        for name in names
    }
