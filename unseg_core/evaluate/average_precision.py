"""Average precision of instances and boxes by pycocotools' COCOeval: the mean over IoU 0.5 to 0.95, and S, M, L."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from unseg_core.data.sample import IGNORE_INDEX, Annotation
from unseg_core.evaluate.predictions import Instances

STATISTICS = ("AP", "AP50", "AP75", "APS", "APM", "APL")
"""The first of COCOeval's, in its order."""


class PrecisionMeter:
    """Collects the truth and the predictions of a test set.

    Sizes are areas of masks in pixels of the original image: small below 32 x 32, large from 96 x 96.
    """

    def __init__(self, classes: Sequence[str], kind: Literal["segm", "bbox"]) -> None:
        self.classes = tuple(classes)
        self.kind = kind
        self.images: list[dict[str, Any]] = []
        self.truth: list[dict[str, Any]] = []
        self.found: list[dict[str, Any]] = []

    def update(self, predicted: Instances, annotation: Annotation) -> None:
        image = len(self.images) + 1
        self.images.append({"id": image, "height": annotation.height, "width": annotation.width})
        for segment in annotation.segments:
            if segment.category == IGNORE_INDEX:
                continue
            one = {
                "id": len(self.truth) + 1,
                "image_id": image,
                "category_id": segment.category,
                "iscrowd": int(segment.is_crowd),
                "segmentation": segment.rle,
                "area": float(coco_mask.area(segment.rle)),
                "bbox": coco_mask.toBbox(segment.rle).tolist(),
            }
            self.truth.append(one)
        self.found += [self._result(image, predicted, row) for row in range(len(predicted.scores))]

    def _result(self, image: int, predicted: Instances, row: int) -> dict[str, Any]:
        one: dict[str, Any] = {
            "image_id": image,
            "category_id": int(predicted.categories[row]),
            "score": float(predicted.scores[row]),
        }
        if self.kind == "segm":
            assert predicted.rles is not None
            return {**one, "segmentation": predicted.rles[row]}
        x0, y0, x1, y1 = predicted.boxes[row].tolist()
        return {**one, "bbox": [x0, y0, x1 - x0, y1 - y0]}

    def result(self) -> tuple[dict[str, float], dict[str, float]]:
        """STATISTICS by name (without those of sizes that do not occur), and AP by class."""
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = self._evaluate()
        if evaluation is None:
            return dict.fromkeys(STATISTICS[:3], 0.0), {}
        values = zip(STATISTICS, evaluation.stats.tolist(), strict=False)
        # Of IoU, recall, class, size and number of detections: all sizes, 100 detections.
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        by_class = {}
        for position, name in enumerate(self.classes):
            measured = precision[:, :, position][precision[:, :, position] > -1]
            if measured.size:
                by_class[name] = float(np.mean(measured))
        return {name: value for name, value in values if value >= 0}, by_class

    def _evaluate(self) -> Any:
        """None without any prediction, which COCO.loadRes does not take."""
        if not self.found:
            return None
        truth = COCO()
        categories = [{"id": number, "name": name} for number, name in enumerate(self.classes, start=1)]
        truth.dataset = {"info": {}, "images": self.images, "annotations": self.truth, "categories": categories}
        truth.createIndex()
        # loadRes adds entries to what it is given.
        evaluation = COCOeval(truth, truth.loadRes([dict(one) for one in self.found]), self.kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation
