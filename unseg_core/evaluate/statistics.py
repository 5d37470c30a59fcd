"""Means over seeds, and how far chance moves the difference between two evaluations.

The interval is a paired bootstrap's (Efron, 1979): test images and seeds are drawn again with replacement, the same for
both evaluations, and the scores computed anew; 95 % of the results lie within it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unseg_core.errors import DataError
from unseg_core.evaluate.image_scores import ImageScore, arrays_of, scores_of_draws

RESAMPLES = 2000
CONFIDENCE = 0.95

ImagesBySeed = Mapping[int, Sequence[ImageScore]]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """One evaluation beside a reference, over the seeds that both have."""

    difference: Interval
    """Score minus the reference's."""
    ratio: Interval | None
    """Score over the reference's; None where that is 0."""
    seeds: int
    images: int


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and the standard deviation of a sample; None for one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def compare_paired(
    scored: ImagesBySeed, reference: ImagesBySeed, *, resamples: int = RESAMPLES, seed: int = 0
) -> PairedComparison:
    """Compare two evaluations of the same test images.

    Raises:
        DataError: they have no seed in common, or other images.
    """
    seeds = sorted(set(scored) & set(reference))
    if not seeds:
        raise DataError("the two evaluations have no seed in common; run both with the same evaluate.seeds")
    ids = [one.id for one in reference[seeds[0]]]
    if any([one.id for one in side[number]] != ids for side in (scored, reference) for number in seeds):
        raise DataError("the two evaluations have other test images; use the same data set and test_share for both")
    weights_RN, weights_RS = _drawn(resamples, len(ids), len(seeds), seed)
    ours, theirs = (_scores(side, seeds, weights_RN, weights_RS) for side in (scored, reference))
    has_ratio = bool((theirs > 0).all())
    return PairedComparison(
        difference=_interval(ours - theirs),
        ratio=_interval(ours / theirs) if has_ratio else None,
        seeds=len(seeds),
        images=len(ids),
    )


def _drawn(resamples: int, images: int, seeds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each image and each seed is drawn; the first row draws each once."""
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn = [rng.multinomial(count, np.full(count, 1 / count), size=resamples) for count in (images, seeds)]
    once = [np.ones((1, count), dtype=np.int64) for count in (images, seeds)]
    by_image, by_seed = (np.concatenate(both) for both in zip(once, drawn, strict=True))
    return by_image, by_seed


def _scores(side: ImagesBySeed, seeds: Sequence[int], weights_RN: np.ndarray, weights_RS: np.ndarray) -> np.ndarray:
    """Mean score over the drawn seeds on the drawn images, [R]."""
    classes = sorted({name for number in seeds for image in side[number] for name in image.sums})
    scores_SR = np.zeros((len(seeds), len(weights_RN)))
    for row, number in enumerate(seeds):
        scores_SR[row] = scores_of_draws(*arrays_of(side[number], classes), weights_RN)
    found: np.ndarray = (scores_SR.T * weights_RS).sum(1) / weights_RS.sum(1)
    return found


def _interval(values_R: np.ndarray) -> Interval:
    """The first value is the one of what was measured."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values_R[1:], [tail, 1 - tail])
    return Interval(value=float(values_R[0]), low=float(low), high=float(high))
