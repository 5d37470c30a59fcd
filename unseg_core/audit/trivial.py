"""What a prediction scores that is the same for every image. A model that scores no more has learnt nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unseg_core.audit.ratio import only
from unseg_core.evaluate.image_scores import ImageScore, score_of
from unseg_core.evaluate.metrics import overlap_sums

BACKGROUND_FACTORS = (1.0, 1 / 2, 1 / 4, 1 / 8, 0.0)
"""How much the background's frequency counts; 0 never predicts it."""


def trivial_score(train_NHW: Tensor, test_NHW: Tensor, classes: Sequence[str], scored: Sequence[str]) -> float:
    """The mean IoU of the best such prediction: at every pixel the class that is the most frequent there in training.

    Args:
        train_NHW, test_NHW: labels uint8, 0 background, 255 = ignore. The best is chosen on the test labels, so that
            no model is called good for less.
        scored: the classes that count.
    """
    frequency = torch.stack([(train_NHW == label).float().mean(0) for label in range(len(classes) + 1)])
    predictions = [_most_frequent(frequency, factor) for factor in BACKGROUND_FACTORS]
    return max(_score(one, test_NHW, classes, scored) for one in predictions)


def _most_frequent(frequency_KHW: Tensor, factor: float) -> Tensor:
    weighted = frequency_KHW.clone()
    weighted[0] *= factor
    if factor == 0:
        weighted[0] = -1  # also where no object was ever seen
    return weighted.argmax(0)


def _score(predicted_HW: Tensor, test_NHW: Tensor, classes: Sequence[str], scored: Sequence[str]) -> float:
    sums = (overlap_sums(predicted_HW, labels.long(), classes) for labels in test_NHW)
    return score_of([only(ImageScore(id="", sums=one), scored) for one in sums])
