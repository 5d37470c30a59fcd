"""Panoptic quality (Kirillov et al., CVPR 2019, section 4), with its rules for void pixels and for groups (crowds).

torchmetrics has no groups, which COCO's panoptic labels have, and takes what a prediction leaves out for void; a test
compares the two where neither matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unseg_core.data.sample import IGNORE_INDEX, Annotation, mask_of
from unseg_core.evaluate.predictions import Panoptic

MATCH = 0.5
"""IoU above which two segments match, and the share of void above which a segment is not counted."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Of one class, or the means over classes."""

    pq: float
    sq: float
    rq: float


class PanopticMeter:
    """Collects matched and unmatched segments of a test set, by class."""

    def __init__(self, classes: int) -> None:
        self.iou = np.zeros(classes + 1)
        self.matched = np.zeros(classes + 1, dtype=np.int64)
        self.false = np.zeros(classes + 1, dtype=np.int64)
        self.missed = np.zeros(classes + 1, dtype=np.int64)

    def update(self, predicted: Panoptic, truth: Annotation) -> None:
        true_ids, categories, crowds = _true_map(truth)
        areas = _areas(true_ids)
        found = _areas(predicted.ids)
        overlaps = _overlaps(true_ids, predicted.ids)
        done: set[int] = set()
        for (true, guess), both in overlaps.items():
            if true not in categories or categories[true] != predicted.categories.get(guess):
                continue
            union = areas[true] + found[guess] - both - overlaps.get((0, guess), 0)
            if both > MATCH * union:
                self.iou[categories[true]] += both / union
                self.matched[categories[true]] += 1
                done |= {true, -guess}
        for number, category in categories.items():
            self.missed[category] += number not in done
        for number, category in predicted.categories.items():
            forgiven = sum(overlaps.get((one, number), 0) for one in (0, *crowds.get(category, ())))
            if -number not in done and number in found and forgiven <= MATCH * found[number]:
                self.false[category] += 1

    def add(self, other: PanopticMeter) -> None:
        """Take in what another one has collected."""
        for name in ("iou", "matched", "false", "missed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def sums(self) -> dict[int, tuple[float, float]]:
        """Of every category that occurs, what is above and below the fraction that its PQ is."""
        counted = self._counted()
        return {int(one): (float(self.iou[one]), float(counted[one])) for one in np.flatnonzero(counted)}

    def _counted(self) -> np.ndarray:
        return self.matched + self.false / 2 + self.missed / 2

    def by_class(self) -> dict[int, Quality]:
        """Of every category that occurs in the truth or in a prediction."""
        counted = self._counted()
        result = {}
        for category in np.flatnonzero(counted):
            sq = self.iou[category] / max(self.matched[category], 1)
            rq = self.matched[category] / counted[category]
            result[int(category)] = Quality(pq=float(sq * rq), sq=float(sq), rq=float(rq))
        return result

    def mean(self, categories: Sequence[int] | None = None) -> Quality | None:
        """Over the categories that occur, or those of them that are given; None where there is none."""
        values = [q for c, q in self.by_class().items() if categories is None or c in categories]
        if not values:
            return None
        pq, sq, rq = np.mean([(q.pq, q.sq, q.rq) for q in values], axis=0)
        return Quality(pq=float(pq), sq=float(sq), rq=float(rq))


def _true_map(truth: Annotation) -> tuple[np.ndarray, dict[int, int], dict[int, list[int]]]:
    """Numbers of segments int32 [H, W] (0 is void), their categories, and the numbers of groups by category."""
    ids = np.zeros((truth.height, truth.width), dtype=np.int32)
    categories: dict[int, int] = {}
    crowds: dict[int, list[int]] = {}
    for number, segment in enumerate(truth.segments, start=1):
        void = segment.category == IGNORE_INDEX and segment.is_crowd
        ids[mask_of(segment)] = 0 if void else number
        if segment.is_crowd and not void:
            crowds.setdefault(segment.category, []).append(number)
        elif not void:
            categories[number] = segment.category
    seen = set(np.unique(ids).tolist())
    return ids, {n: c for n, c in categories.items() if n in seen}, crowds


def _areas(ids: np.ndarray) -> dict[int, int]:
    values, counts = np.unique(ids, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _overlaps(true: np.ndarray, predicted: np.ndarray) -> dict[tuple[int, int], int]:
    """Pixels that a true and a predicted segment share."""
    codes, counts = np.unique(true.astype(np.int64) << 32 | predicted.astype(np.int64), return_counts=True)
    return {(int(code) >> 32, int(code) & 0xFFFFFFFF): int(count) for code, count in zip(codes, counts, strict=True)}
