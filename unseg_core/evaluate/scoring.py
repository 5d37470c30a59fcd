"""What each task is scored by, over a whole test set. Adding a task is one meter and one line in METERS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch

from unseg_core.data.sample import Annotation, mask_of
from unseg_core.evaluate.average_precision import PrecisionMeter
from unseg_core.evaluate.batch import Batch
from unseg_core.evaluate.image_scores import Sums
from unseg_core.evaluate.metrics import IouMeter, overlap_sums
from unseg_core.evaluate.panoptic_quality import PanopticMeter, Quality
from unseg_core.evaluate.predictions import Instances, Panoptic
from unseg_core.mask_metrics import boundary_iou, iou


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All from 0 to 1."""

    main: float
    """What runs are compared by."""
    by_class: dict[str, float]
    """The main score by class, where the task has one."""
    values: dict[str, float] = field(default_factory=dict)
    """The main score and the others by name."""
    images: tuple[Sums, ...] = ()
    """What each image added to the main score, in the order of the test set."""


class TaskMeter(Protocol):
    """Collects what a model predicted for the batches of a test set."""

    def update(self, predicted: Any, batch: Batch) -> None:
        """Take the result of DownstreamModel.predict."""
        ...

    def result(self) -> Scores: ...


class SemanticTask:
    """Mean IoU over the object classes; Dice besides."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.meter = IouMeter(classes)
        self.images: list[Sums] = []

    def update(self, predicted: torch.Tensor, batch: Batch) -> None:
        assert batch.labels is not None
        labels_BHW, predicted_BHW = batch.labels.cpu(), predicted.cpu()
        self.meter.update(predicted_BHW, labels_BHW)
        for guess, truth in zip(predicted_BHW, labels_BHW, strict=True):
            self.images.append(overlap_sums(guess, truth, self.classes))

    def result(self) -> Scores:
        mean, by_class = self.meter.result()
        values = {"IoU": mean, "Dice": self.meter.dice()}
        return Scores(main=mean, by_class=by_class, values=values, images=tuple(self.images))


class PrecisionTask:
    """AP of masks or boxes."""

    def __init__(self, classes: Sequence[str], kind: Literal["segm", "bbox"]) -> None:
        self.classes = tuple(classes)
        self.kind = kind
        self.meter = PrecisionMeter(classes, kind)
        self.images: list[Sums] = []

    def update(self, predicted: Sequence[Instances], batch: Batch) -> None:
        for one, annotation in zip(predicted, batch.annotations, strict=True):
            self.meter.update(one, annotation)
            alone = PrecisionMeter(self.classes, self.kind)
            alone.update(one, annotation)
            has_truth = any(not segment.is_crowd for segment in annotation.segments)
            self.images.append({"": (alone.result()[0].get("AP", 0.0), 1.0)} if has_truth else {})

    def result(self) -> Scores:
        values, by_class = self.meter.result()
        return Scores(main=values.get("AP", 0.0), by_class=by_class, values=values, images=tuple(self.images))


class PanopticTask:
    """PQ, SQ and RQ over all classes, things and stuff."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.meter = PanopticMeter(len(classes))
        self.things: set[int] = set()
        self.images: list[Sums] = []

    def update(self, predicted: Sequence[Panoptic], batch: Batch) -> None:
        for one, annotation in zip(predicted, batch.annotations, strict=True):
            self.things |= {segment.category for segment in annotation.segments if segment.is_thing}
            alone = PanopticMeter(len(self.classes))
            alone.update(one, annotation)
            self.meter.add(alone)
            self.images.append({self.classes[category - 1]: pair for category, pair in alone.sums().items()})

    def result(self) -> Scores:
        stuff = set(range(1, len(self.classes) + 1)) - self.things
        parts = {
            "": self.meter.mean(),
            "Th": self.meter.mean(sorted(self.things)),
            "St": self.meter.mean(sorted(stuff)),
        }
        values = {name + end: value for end, q in parts.items() if q is not None for name, value in _named(q)}
        by_class = {self.classes[category - 1]: q.pq for category, q in self.meter.by_class().items()}
        return Scores(main=values.get("PQ", 0.0), by_class=by_class, values=values, images=tuple(self.images))


def _named(quality: Quality) -> list[tuple[str, float]]:
    return [("PQ", quality.pq), ("SQ", quality.sq), ("RQ", quality.rq)]


class InteractiveTask:
    """Mean IoU and boundary IoU over all prompted objects, at the size of their images."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.iou: list[float] = []
        self.boundary: list[float] = []
        self.images: list[Sums] = []

    def update(self, predicted: Sequence[np.ndarray], batch: Batch) -> None:
        for masks, annotation in zip(predicted, batch.annotations, strict=True):
            before = len(self.iou)
            for mask, true in zip(masks, _true_masks(annotation), strict=True):
                guess, truth = torch.from_numpy(mask)[None], torch.from_numpy(true)[None]
                self.iou.append(float(iou(guess, truth)))
                self.boundary.append(float(boundary_iou(guess, truth)))
            own = self.iou[before:]
            self.images.append({"": (sum(own), float(len(own)))} if own else {})

    def result(self) -> Scores:
        mean = float(np.mean(self.iou)) if self.iou else 0.0
        boundary = float(np.mean(self.boundary)) if self.boundary else 0.0
        return Scores(main=mean, by_class={}, values={"IoU": mean, "BIoU": boundary}, images=tuple(self.images))


def _true_masks(annotation: Annotation) -> list[np.ndarray]:
    return [mask_of(segment) for segment in annotation.segments if not segment.is_crowd]


METERS: dict[str, tuple[str, Callable[[Sequence[str]], TaskMeter]]] = {
    "semantic": ("IoU", SemanticTask),
    "medical": ("IoU", SemanticTask),
    "instance": ("AP", lambda classes: PrecisionTask(classes, "segm")),
    "panoptic": ("PQ", PanopticTask),
    "detection": ("AP", lambda classes: PrecisionTask(classes, "bbox")),
    "interactive": ("IoU", InteractiveTask),
}
"""Name of the main score and the meter, by task; a meter is made from the names of the classes 1, 2, ..."""
SEMANTIC = frozenset({"semantic", "medical"})
"""The tasks of label maps; all others are about segments."""
