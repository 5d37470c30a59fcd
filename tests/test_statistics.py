"""Scores by image add up to the score, and the paired bootstrap says what chance can do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from unseg_core.data.sample import Annotation, segment_of
from unseg_core.errors import DataError
from unseg_core.evaluate.batch import Batch
from unseg_core.evaluate.image_scores import ImageScore, from_rows, score_of, score_rows
from unseg_core.evaluate.predictions import Panoptic
from unseg_core.evaluate.run import SeedResult
from unseg_core.evaluate.scoring import InteractiveTask, PanopticTask, SemanticTask
from unseg_core.evaluate.statistics import compare_paired, mean_and_deviation

CLASSES = ("cat", "dog", "never")


def scored(images: list[dict[str, tuple[float, float]]]) -> tuple[ImageScore, ...]:
    return tuple(ImageScore(id=f"{number}", sums=sums) for number, sums in enumerate(images))


def test_label_maps_add_up_to_the_mean_iou(rng: np.random.Generator) -> None:
    meter = SemanticTask(CLASSES)
    for _ in range(3):
        labels = torch.from_numpy(rng.choice([0, 1, 2, 255], size=(4, 9, 7)))
        guess = torch.from_numpy(rng.choice([0, 1, 2], size=(4, 9, 7)))
        meter.update(guess, Batch(images=torch.zeros(4, 3, 9, 7), labels=labels))
    result = meter.result()
    assert len(result.images) == 12
    assert score_of(scored([dict(one) for one in result.images])) == pytest.approx(result.main)


def test_label_maps_by_hand() -> None:
    meter = SemanticTask(CLASSES)
    labels = torch.tensor([[[0, 1, 2, 255]], [[0, 0, 0, 0]]])
    guess = torch.tensor([[[0, 1, 1, 2]], [[0, 0, 0, 0]]])
    meter.update(guess, Batch(images=torch.zeros(2, 3, 1, 4), labels=labels))
    assert meter.result().images == ({"cat": (1.0, 2.0), "dog": (0.0, 1.0)}, {})


def annotation(*columns: tuple[int, int, int]) -> Annotation:
    """Segments of 10 rows: category, from, to."""
    segments = []
    for category, start, stop in columns:
        mask = np.zeros((10, 30), dtype=bool)
        mask[:, start:stop] = True
        segments.append(segment_of(mask, category))
    return Annotation(height=10, width=30, segments=tuple(segments))


def panoptic_map(*columns: tuple[int, int, int]) -> Panoptic:
    ids = np.zeros((10, 30), dtype=np.int32)
    for number, (_, start, stop) in enumerate(columns, start=1):
        ids[:, start:stop] = number
    return Panoptic(ids=ids, categories={n: category for n, (category, _, _) in enumerate(columns, start=1)})


def test_panoptic_images_add_up_to_pq() -> None:
    meter = PanopticTask(CLASSES)
    truths = (annotation((1, 0, 10), (2, 10, 20)), annotation((1, 0, 20)))
    guesses = [panoptic_map((1, 0, 8), (1, 10, 20)), panoptic_map((1, 0, 20))]
    meter.update(guesses, Batch(images=torch.zeros(2, 3, 1, 1), annotations=truths))
    result = meter.result()
    assert result.images[0] == {"cat": (pytest.approx(0.8), 1.5), "dog": (0.0, 0.5)}
    assert result.main == pytest.approx((1.8 / 2.5 + 0) / 2)
    assert score_of(scored([dict(one) for one in result.images])) == pytest.approx(result.main)


def test_objects_add_up_to_their_mean_iou() -> None:
    meter = InteractiveTask(CLASSES)
    truths = (annotation((1, 0, 10), (2, 10, 20)), annotation(), annotation((1, 0, 20)))
    masks = [np.stack([panoptic_map((1, 0, stop)).ids > 0 for stop in stops]) for stops in ((5, 20), (10,))]
    predicted = [masks[0], np.zeros((0, 10, 30), dtype=bool), masks[1]]
    meter.update(predicted, Batch(images=torch.zeros(3, 3, 1, 1), annotations=truths))
    result = meter.result()
    assert [dict(one) for one in result.images] == [{"": (1.0, 2.0)}, {}, {"": (0.5, 1.0)}]
    assert result.main == pytest.approx(0.5)


def test_the_table_holds_everything() -> None:
    images = scored([{"cat": (1.0, 2.0), "dog": (0.25, 3.0)}, {}])
    result = SeedResult(seed=3, iou=0.1, class_iou={}, train_loss=0.0, curve=(), images=images)
    rows: list[Any] = [{name: str(value) for name, value in row.items()} for row in score_rows([result])]
    assert from_rows(rows) == {3: images}


def test_comparison_by_hand() -> None:
    clean = {0: scored([{"": (1.0, 1.0)}] * 4), 1: scored([{"": (0.5, 1.0)}] * 4)}
    same = compare_paired(clean, clean)
    assert (same.difference.low, same.difference.value, same.difference.high) == (0, 0, 0)
    assert same.ratio is not None
    assert (same.ratio.low, same.ratio.high) == (1, 1)
    # Half as good on every image and seed: the ratio is certain, the difference depends on the seeds drawn.
    half = {seed: scored([{"": (one.sums[""][0] / 2, 1.0)} for one in images]) for seed, images in clean.items()}
    found = compare_paired(half, clean)
    assert found.ratio is not None
    assert (found.ratio.low, found.ratio.value, found.ratio.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (found.difference.low, found.difference.value, found.difference.high) == (-0.5, -0.375, -0.25)
    assert (found.seeds, found.images) == (2, 4)


def test_interval_narrows_with_images_and_covers_the_truth(rng: np.random.Generator) -> None:
    def pair(count: int) -> tuple[dict[int, tuple[ImageScore, ...]], dict[int, tuple[ImageScore, ...]]]:
        base = rng.uniform(0.2, 0.8, size=count)
        ours = base - 0.1 + rng.normal(0, 0.05, size=count)
        first, second = (scored([{"": (float(v), 1.0)} for v in values]) for values in (ours, base))
        return {0: first}, {0: second}

    few, many = compare_paired(*pair(10)), compare_paired(*pair(400))
    assert many.difference.high - many.difference.low < 0.3 * (few.difference.high - few.difference.low)
    # The usual interval of the mean of the paired differences: 1.96 * 0.05 / sqrt(400) to each side.
    assert many.difference.high - many.difference.low == pytest.approx(2 * 1.96 * 0.05 / 20, rel=0.15)
    found = [compare_paired(*pair(60), resamples=400).difference for _ in range(60)]
    assert sum(one.low < -0.1 < one.high for one in found) >= 51


def test_what_cannot_be_compared_is_refused() -> None:
    images = scored([{"": (1.0, 1.0)}] * 2)
    with pytest.raises(DataError, match="no seed in common"):
        compare_paired({0: images}, {1: images})
    with pytest.raises(DataError, match="other test images"):
        compare_paired({0: images[:1]}, {0: images})
    nothing = {0: scored([{"": (0.0, 1.0)}] * 2)}
    assert compare_paired({0: images}, nothing).ratio is None


def test_mean_and_deviation() -> None:
    assert mean_and_deviation([0.1, 0.3]) == (pytest.approx(0.2), pytest.approx(0.1414, abs=1e-4))
    assert mean_and_deviation([0.1]) == (0.1, None)
