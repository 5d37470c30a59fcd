"""Intersection over union and Dice, from torchmetrics' confusion matrix over the whole test set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unseg_core.data.sample import IGNORE_INDEX
from unseg_core.extras import needs_extra


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


def overlap_sums(predicted_HW: Tensor, labels_HW: Tensor, classes: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Pixels of intersection and union in one image by class, without the background and classes that do not occur."""
    counted = labels_HW != IGNORE_INDEX
    predicted, labels = predicted_HW[counted], labels_HW[counted]
    size = len(classes) + 1
    both = torch.bincount(labels[predicted == labels], minlength=size)
    union = torch.bincount(predicted, minlength=size) + torch.bincount(labels, minlength=size) - both
    pairs = zip(classes, both[1:].tolist(), union[1:].tolist(), strict=True)
    return {name: (float(one), float(other)) for name, one, other in pairs if other}


class IouMeter:
    """Collects predictions of a test set."""

    def __init__(self, classes: Sequence[str]) -> None:
        with needs_extra("evaluate", "the IoU of label maps"):
            from torchmetrics.classification import MulticlassConfusionMatrix

        self.names = ("background", *classes)
        # Only one process of a run tests; with others there, torchmetrics would wait for theirs.
        self.confusion = MulticlassConfusionMatrix(
            num_classes=len(self.names), ignore_index=IGNORE_INDEX, sync_on_compute=False
        )

    def update(self, predicted_BHW: Tensor, labels_BHW: Tensor) -> None:
        self.confusion.update(predicted_BHW, labels_BHW)

    def result(self) -> tuple[float, dict[str, float]]:
        """Mean IoU over the object classes that occur (not the background; 0 if none does), and the IoU of every class.

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
    found = objects[~objects.isnan()]
    return float(found.mean()) if found.numel() else 0.0
