"""How much of the clean models' score the models of a copy reach, with an interval over test images and seeds.

Images are drawn again (bootstrap), the same ones for both sides. Two or three seeds cannot be drawn again honestly: how
far they may be off the mean is Student's t with the spread of the ratio estimator's residuals (Cochran, Sampling
Techniques, 3rd ed., section 6.3), the sides paired by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unseg_core.evaluate.image_scores import ImageScore, arrays_of, scores_of_draws
from unseg_core.evaluate.statistics import CONFIDENCE, RESAMPLES, Interval

SMALLEST = 1e-6
"""Clean scores of drawn images are taken for no less."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What models of several seeds did on the same test images."""

    above: np.ndarray
    """float64 [seeds, images, classes], as in image_scores.py."""
    below: np.ndarray

    @classmethod
    def of(cls, seeds: Sequence[Sequence[ImageScore]], classes: Sequence[str]) -> Trials:
        """From the images of every seed, with these classes alone."""
        arrays = [arrays_of([only(image, classes) for image in images], classes) for images in seeds]
        return cls(above=np.stack([above for above, _ in arrays]), below=np.stack([below for _, below in arrays]))

    def scores(self, counts: np.ndarray | None = None) -> np.ndarray:
        """[seeds, draws] for counts [draws, images] of how often each image was drawn; without them [seeds, 1]."""
        weights = np.ones((1, self.above.shape[1])) if counts is None else counts
        return scores_of_draws(self.above, self.below, weights)


def only(image: ImageScore, classes: Sequence[str]) -> ImageScore:
    """Without what belongs to other classes."""
    return ImageScore(id=image.id, sums={name: pair for name, pair in image.sums.items() if name in classes})


def ratio_of(trials: Trials, clean: Trials) -> Interval | None:
    """Mean score over mean score; None with one seed, or where the clean models score nothing."""
    ours, theirs = trials.scores()[:, 0], clean.scores()[:, 0]
    if len(ours) < 2 or theirs.mean() == 0:
        return None
    ratio = float(ours.mean() / theirs.mean())
    error = (ours - ratio * theirs).std(ddof=1) / np.sqrt(len(ours)) / theirs.mean()
    rng = np.random.Generator(np.random.PCG64(0))
    counts = _counts(rng, clean.above.shape[1])
    drawn = trials.scores(counts).mean(0) / np.maximum(clean.scores(counts).mean(0), SMALLEST)
    drawn = drawn + error * rng.standard_t(len(ours) - 1, RESAMPLES)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value=ratio, low=max(0.0, min(ratio, float(low))), high=max(ratio, float(high)))


def _counts(rng: np.random.Generator, images: int) -> np.ndarray:
    return rng.multinomial(images, np.full(images, 1 / images), RESAMPLES).astype(np.float64)
