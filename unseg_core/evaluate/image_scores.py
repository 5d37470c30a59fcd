"""What each test image adds to a score, so that intervals can be had by drawing images again.

The main score of every task is, or comes near to, a mean over classes of fractions of two sums over images: IoU
(intersection over union), panoptic quality (sum of IoU over matches and half the misses), mean IoU of objects (sum of
IoU over objects). AP is no such fraction; there, each image counts with its own AP.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Sums = Mapping[str, tuple[float, float]]
"""Class (or "" for all) to what an image adds above and below the fraction; classes that it has nothing of are left
out."""


@dataclass(frozen=True, kw_only=True)
class ImageScore:
    """One test image."""

    id: str
    sums: Sums


class Scored(Protocol):
    """The result of one seed."""

    @property
    def seed(self) -> int: ...

    @property
    def images(self) -> Sequence[ImageScore]: ...


def score_of(images: Sequence[ImageScore]) -> float:
    """The score that the images add up to; 0 without any class."""
    above, below = totals(images)
    fractions = [above[name] / below[name] for name in below if below[name] > 0]
    return float(np.mean(fractions)) if fractions else 0.0


def totals(images: Sequence[ImageScore]) -> tuple[dict[str, float], dict[str, float]]:
    """Both sums by class."""
    above: dict[str, float] = {}
    below: dict[str, float] = {}
    for image in images:
        for name, (one, other) in image.sums.items():
            above[name] = above.get(name, 0.0) + one
            below[name] = below.get(name, 0.0) + other
    return above, below


def arrays_of(images: Sequence[ImageScore], classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Both sums as float64 [images, classes]."""
    both = np.zeros((2, len(images), len(classes)))
    column = {name: number for number, name in enumerate(classes)}
    for row, image in enumerate(images):
        for name, pair in image.sums.items():
            both[:, row, column[name]] = pair
    return both[0], both[1]


def scores_of_draws(above: np.ndarray, below: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """The score for each of R draws that have image N so often, from sums [..., images, classes]; [..., R]."""
    above, below = weights_RN @ above, weights_RN @ below
    occurs = below > 0
    fractions = np.divide(above, below, out=np.zeros_like(above), where=occurs)
    scores: np.ndarray = fractions.sum(-1) / np.maximum(occurs.sum(-1), 1)
    return scores


def score_rows(results: Iterable[Scored]) -> Iterator[dict[str, object]]:
    """A table of all images of all seeds, a row for each class; an image without any class has one row of zeros."""
    for result in results:
        for image in result.images:
            for name, (above, below) in (image.sums or {"": (0.0, 0.0)}).items():
                row = {"seed": result.seed, "image": image.id, "class": name, "above": above, "below": below}
                yield row


def from_rows(rows: Iterable[Mapping[str, str]]) -> dict[int, tuple[ImageScore, ...]]:
    """Images by seed from the rows of such a table, read as text."""
    found: dict[int, dict[str, dict[str, tuple[float, float]]]] = {}
    for row in rows:
        sums = found.setdefault(int(row["seed"]), {}).setdefault(row["image"], {})
        if float(row["below"]) > 0:
            sums[row["class"]] = (float(row["above"]), float(row["below"]))
    return {
        seed: tuple(ImageScore(id=one, sums=sums) for one, sums in images.items()) for seed, images in found.items()
    }
