"""Intersection over union and Dice, from torchmetrics' confusion matrix over the whole test set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unseg_core.data.sample import IGNORE_INDEX


def class_iou(confusion: Tensor) -> Tensor:
    """IoU per class from a confusion matrix [K, K] (rows true, columns predicted); nan where a class never occurs."""
    hits = confusion.diag().double()
    union = confusion.sum(0) + confusion.sum(1) - confusion.diag()
    return torch.where(union > 0, hits / union, torch.nan)


def class_dice(confusion: Tensor) -> Tensor:
    """Dice coefficient per class from a confusion matrix as for class_iou."""
    hits = confusion.diag().double()
    total = confusion.sum(0) + confusion.sum(1)
    return torch.where(total > 0, 2 * hits / total, torch.nan)


class IouMeter:
    """Collects predictions of a test set."""

    def __init__(self, classes: Sequence[str]) -> None:
        from torchmetrics.classification import MulticlassConfusionMatrix

        self.names = ("background", *classes)
        self.confusion = MulticlassConfusionMatrix(num_classes=len(self.names), ignore_index=IGNORE_INDEX)

    def update(self, predicted_BHW: Tensor, labels_BHW: Tensor) -> None:
        self.confusion.update(predicted_BHW, labels_BHW)

    def result(self) -> tuple[float, dict[str, float]]:
        """Mean IoU over the object classes that occur (not the background), and the IoU of every class.

        With one class this is the object's IoU, as usual for medical and interactive sets.
        """
        values = class_iou(self.confusion.compute())
        by_name = {name: float(v) for name, v in zip(self.names, values.tolist(), strict=True) if v == v}
        return _mean_of_objects(values), by_name

    def dice(self) -> float:
        """Mean Dice over the object classes that occur."""
        return _mean_of_objects(class_dice(self.confusion.compute()))


def _mean_of_objects(values: Tensor) -> float:
    objects = values[1:]
    return float(objects[~objects.isnan()].mean())
