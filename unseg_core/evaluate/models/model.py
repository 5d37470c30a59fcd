"""The one interface of all downstream models: a loss to train on, predictions to score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from unseg_core.evaluate.batch import Batch
from unseg_core.params import EvaluateParams


class DownstreamModel(nn.Module, ABC):
    """A network for one task. The type of predictions depends on the task; see unseg_core.evaluate.scoring."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """A scalar to minimise; random numbers come from torch's global generator."""

    @abstractmethod
    def predict(self, batch: Batch) -> Any:
        """int64 labels [B, H, W] for semantic tasks, else one entry for each image:

        Instances for instance and detection, Panoptic for panoptic, and bool masks [N, height, width] of the original
        size, in the order of the batch's objects, for interactive.
        """


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the registry."""

    build: Callable[[EvaluateParams, int], DownstreamModel]
    """From the recipe and the number of classes without the background.

    Raises ParameterError for an unknown encoder, WeightsError for weights that do not fit.
    """
    tasks: frozenset[str]
