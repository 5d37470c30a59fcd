"""The two kinds of defences: a transform of the training images, or a rule of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from unseg_core.degradations import Transform
from unseg_core.errors import ParameterError
from unseg_core.evaluate.batch import Batch
from unseg_core.evaluate.models.model import DownstreamModel


class TrainingRule(nn.Module):
    """How a model's loss is had from a batch. What is trained besides the model are this module's parameters."""

    def __init__(self, model: DownstreamModel) -> None:
        super().__init__()
        # In a list, so that its parameters are not counted twice.
        self._model = [model]

    @property
    def model(self) -> DownstreamModel:
        return self._model[0]

    def loss(self, batch: Batch) -> Tensor:
        return self.model.loss(batch)

    def predict(self, batch: Batch) -> Any:
        return self.model.predict(batch)


@dataclass(frozen=True, kw_only=True)
class Defence:
    """A line of the registry; exactly one of `transform` and `rule` is given."""

    default: float
    """The value where the recipe gives none."""
    low: float
    high: float
    transform: Callable[[float], Transform] | None = None
    """From the value to the transform."""
    at_test: bool = False
    """Testing has the transform too, because the network is made for such images (a grey one for grey ones)."""
    rule: Callable[[DownstreamModel, float], TrainingRule] | None = None
    """From the model and the value to the rule."""

    def check(self, name: str, value: float) -> None:
        """Raise ParameterError for a value out of range."""
        if not self.low <= value <= self.high:
            raise ParameterError(
                f"evaluate.defences: {name} is {value:g}; give a value from {self.low:g} to {self.high:g}"
            )
