"""Metrics and post-processing: by hand, against pycocotools on files, and against torchmetrics."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from unseg_core.data.layouts import open_layout
from unseg_core.data.sample import Annotation, Segment, ignored_segment, mask_of, segment_of
from unseg_core.evaluate.average_precision import STATISTICS, PrecisionMeter
from unseg_core.evaluate.batch import Batch, Frame
from unseg_core.evaluate.metrics import IouMeter
from unseg_core.evaluate.panoptic_quality import PanopticMeter
from unseg_core.evaluate.predictions import Instances, Panoptic, detections, instances, panoptic
from unseg_core.evaluate.scoring import InteractiveTask, PanopticTask
from unseg_core.evaluate.targets import objects_of, objects_of_labels, square_image

Box = tuple[int, int, int, int]


def test_nothing_to_find_and_nothing_found_is_nothing() -> None:
    meter = IouMeter(["disc"])
    meter.update(torch.zeros(1, 4, 4, dtype=torch.long), torch.zeros(1, 4, 4, dtype=torch.long))
    assert (meter.result(), meter.dice()) == ((0.0, {"background": 1.0}), 0.0)


def rectangle(box: Box, height: int = 100, width: int = 120) -> np.ndarray:
    """True from (x0, y0) to before (x1, y1)."""
    mask = np.zeros((height, width), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def found(*guesses: tuple[float, int, Box]) -> Instances:
    """Score, category and rectangle of each."""
    masks = [rectangle(box) for _, _, box in guesses]
    return Instances(
        scores=np.array([score for score, _, _ in guesses]),
        categories=np.array([category for _, category, _ in guesses], dtype=np.int64),
        boxes=np.array([box for _, _, box in guesses], dtype=np.float64).reshape(-1, 4),
        rles=tuple(coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks),
    )


def truth(*segments: Segment) -> Annotation:
    return Annotation(height=100, width=120, segments=segments)


def test_iou_and_dice_by_hand() -> None:
    meter = IouMeter(("cat", "dog", "never"))
    meter.update(torch.tensor([[[0, 1, 1, 2]]]), torch.tensor([[[0, 1, 2, 255]]]))
    meter.update(torch.tensor([[[1, 1, 1, 0]]]), torch.tensor([[[1, 0, 1, 0]]]))
    mean, by_class = meter.result()
    assert by_class == {"background": pytest.approx(2 / 3), "cat": pytest.approx(3 / 5), "dog": 0.0}
    assert mean == pytest.approx((3 / 5 + 0.0) / 2)
    assert meter.dice() == pytest.approx((2 * 3 / 8 + 0.0) / 2)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_average_precision_by_hand(kind: Any) -> None:
    """Right, wrong, right: precision 1 up to recall 1/2 (51 of COCO's 101 points), then 2/3."""
    first, second = (10, 10, 30, 30), (50, 50, 90, 90)
    meter = PrecisionMeter(("cat", "dog"), kind)
    meter.update(found((0.9, 1, first), (0.8, 1, (0, 60, 20, 80)), (0.7, 1, second)),
                 truth(segment_of(rectangle(first), 1), segment_of(rectangle(second), 1)))  # fmt: skip
    values, by_class = meter.result()
    expected = (51 + 50 * 2 / 3) / 101
    assert values["AP"] == pytest.approx(expected)
    assert values["AP50"] == pytest.approx(expected)
    assert by_class == {"cat": pytest.approx(expected)}
    # 400 pixels are small, 1,600 are medium, and nothing is large; the wrong one is small.
    assert values["APS"] == pytest.approx(1.0)
    assert values["APM"] == pytest.approx(1.0)
    assert "APL" not in values


def test_average_precision_of_a_half_right_mask() -> None:
    """IoU 0.8 counts at thresholds 0.5 to 0.8: 7 of 10."""
    meter = PrecisionMeter(("cat",), "segm")
    meter.update(found((0.9, 1, (0, 0, 50, 32))), truth(segment_of(rectangle((0, 0, 50, 40)), 1)))
    values, _ = meter.result()
    assert values["AP"] == pytest.approx(0.7)
    assert (values["AP50"], values["AP75"]) == (pytest.approx(1.0), pytest.approx(1.0))


def test_what_lies_in_a_crowd_is_not_counted() -> None:
    crowd = segment_of(rectangle((0, 0, 60, 60)), 1, is_crowd=True)
    void = ignored_segment([segment_of(rectangle((100, 0, 120, 20)), 1).rle])
    meter = PrecisionMeter(("cat",), "segm")
    right = (70, 70, 90, 90)
    meter.update(found((0.9, 1, (5, 5, 20, 20)), (0.8, 1, right)), truth(crowd, segment_of(rectangle(right), 1), *void))
    assert meter.result()[0]["AP"] == pytest.approx(1.0)


def test_nothing_found_scores_nothing() -> None:
    meter = PrecisionMeter(("cat",), "segm")
    meter.update(found(), truth(segment_of(rectangle((0, 0, 9, 9)), 1)))
    assert meter.result() == ({"AP": 0.0, "AP50": 0.0, "AP75": 0.0}, {})


def random_box(rng: np.random.Generator) -> Box:
    x, y = int(rng.integers(0, 60)), int(rng.integers(0, 50))
    return x, y, x + int(rng.integers(4, 60)), y + int(rng.integers(4, 50))


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_average_precision_is_that_of_pycocotools_on_files(kind: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    meter = PrecisionMeter(("cat", "dog", "cow"), kind)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, 9):
        segments, guesses = [], []
        for _ in range(int(rng.integers(0, 5))):
            box, category = random_box(rng), int(rng.integers(1, 4))
            crowd = bool(rng.random() < 0.15)
            segments.append(segment_of(rectangle(box), category, is_crowd=crowd))
            near = tuple(int(v + rng.integers(-3, 4)) for v in box)
            guesses.append((float(rng.random()), category, (max(near[0], 0), max(near[1], 0), near[2], near[3])))
        guesses += [(float(rng.random()), int(rng.integers(1, 4)), random_box(rng)) for _ in range(3)]
        predicted = found(*guesses)
        meter.update(predicted, truth(*segments))
        for one in segments:
            rle = {**one.rle, "counts": one.rle["counts"].decode()}
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": one.category, "segmentation": rle,
                "iscrowd": int(one.is_crowd), "area": float(coco_mask.area(one.rle)),
                "bbox": coco_mask.toBbox(one.rle).tolist(),
            })  # fmt: skip
        assert predicted.rles is not None
        for (score, category, _), box, rle in zip(guesses, predicted.boxes.tolist(), predicted.rles, strict=True):
            entry: dict[str, Any] = {"image_id": image, "category_id": category, "score": score}
            if kind == "segm":
                entry["segmentation"] = {**rle, "counts": rle["counts"].decode()}
            else:
                entry["bbox"] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            results.append(entry)
    images = [{"id": image, "height": 100, "width": 120} for image in range(1, 9)]
    categories = [{"id": number, "name": name} for number, name in enumerate(("cat", "dog", "cow"), start=1)]
    (tmp_path / "truth.json").write_text(
        json.dumps({"info": {}, "images": images, "annotations": annotations, "categories": categories})
    )
    (tmp_path / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(reference, reference.loadRes(str(tmp_path / "results.json")), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values, by_class = meter.result()
    expected = dict(zip(STATISTICS, evaluation.stats.tolist(), strict=False))
    assert values == pytest.approx({name: value for name, value in expected.items() if value >= 0})
    assert 0.05 < values["AP"] < 0.95
    assert np.mean(list(by_class.values())) == pytest.approx(values["AP"])


def panoptic_of(*segments: tuple[int, Box]) -> Panoptic:
    """Category and rectangle of each."""
    ids = np.zeros((100, 120), dtype=np.int32)
    for number, (_, box) in enumerate(segments, start=1):
        ids[rectangle(box)] = number
    return Panoptic(ids=ids, categories={n: category for n, (category, _) in enumerate(segments, start=1)})


def test_panoptic_quality_by_hand() -> None:
    """One match of IoU 0.8, one missed, one false: PQ = 0.8 / (1 + 1/2 + 1/2)."""
    meter = PanopticMeter(2)
    true = truth(segment_of(rectangle((0, 0, 50, 40)), 1), segment_of(rectangle((60, 60, 80, 80)), 1),
                 segment_of(rectangle((0, 90, 120, 100)), 2, is_thing=False))  # fmt: skip
    meter.update(panoptic_of((1, (0, 0, 50, 32)), (1, (60, 60, 80, 66)), (2, (0, 90, 120, 100))), true)
    cat = meter.by_class()[1]
    assert (cat.pq, cat.sq, cat.rq) == (pytest.approx(0.4), pytest.approx(0.8), pytest.approx(0.5))
    whole = meter.mean()
    assert whole is not None
    assert (whole.pq, whole.sq, whole.rq) == (pytest.approx(0.7), pytest.approx(0.9), pytest.approx(0.75))


def test_panoptic_void_and_groups() -> None:
    """Void pixels leave the union; segments mostly in void, or in a group of their class, are not false."""
    void = ignored_segment([segment_of(rectangle((0, 40, 50, 60)), 1).rle])
    group = segment_of(rectangle((60, 0, 100, 40)), 1, is_crowd=True)
    true = truth(segment_of(rectangle((0, 0, 50, 40)), 1), group, *void)
    guess = panoptic_of((1, (0, 0, 50, 50)), (1, (62, 2, 80, 20)), (2, (82, 2, 98, 20)), (2, (10, 52, 40, 60)))
    meter = PanopticMeter(2)
    meter.update(guess, true)
    assert meter.by_class()[1].pq == pytest.approx(1.0)
    # Of the two of class 2, the one in the group of class 1 is false.
    assert (int(meter.false[1]), int(meter.false[2]), int(meter.missed.sum())) == (0, 1, 0)


def test_segments_of_another_class_or_of_half_do_not_match() -> None:
    meter = PanopticMeter(2)
    true = truth(segment_of(rectangle((0, 0, 40, 40)), 1), segment_of(rectangle((50, 0, 90, 40)), 1))
    meter.update(panoptic_of((2, (0, 0, 40, 40)), (1, (50, 0, 90, 20))), true)
    assert int(meter.matched.sum()) == 0
    assert (meter.false.tolist(), meter.missed.tolist()) == ([0, 1, 1], [0, 2, 0])


def test_panoptic_quality_is_that_of_torchmetrics(rng: np.random.Generator) -> None:
    """Where predictions leave no pixel out: torchmetrics forgives what they leave out, the paper does not."""
    from torchmetrics.detection import PanopticQuality

    things, stuff, unknown = [1, 2], [3], 0
    reference = PanopticQuality(things, stuff, allow_unknown_preds_category=True, return_sq_and_rq=True,
                                return_per_class=True)  # fmt: skip
    meter = PanopticMeter(3)
    for _ in range(6):
        truths = [(int(rng.integers(1, 3)), random_box(rng)) for _ in range(4)]
        guesses = [(c, (b[0] + 1, b[1], b[2], b[3] - 1)) for c, b in truths[:3]] + [(1, random_box(rng))]
        true_map = panoptic_of((3, (0, 70, 120, 100)), *truths)
        guess_map = panoptic_of((3, (0, 0, 120, 100)), *guesses)
        both = [one_map(one, unknown) for one in (guess_map, true_map)]
        reference.update(both[0][None], both[1][None])
        meter.update(guess_map, as_annotation(true_map))
    ours = meter.by_class()
    theirs = reference.compute().tolist()
    for category, (pq, sq, rq) in zip([1, 2, 3], theirs, strict=True):
        assert (ours[category].pq, ours[category].sq, ours[category].rq) == pytest.approx((pq, sq, rq), abs=1e-6)
    assert 0.1 < ours[1].pq < 0.99


def one_map(one: Panoptic, unknown: int) -> torch.Tensor:
    """[H, W, 2]: category and number, as torchmetrics has them; `unknown` for void."""
    categories = np.array([unknown, *(one.categories[n] for n in sorted(one.categories))])
    numbers = np.where(categories[one.ids] == 3, 0, one.ids)
    return torch.from_numpy(np.stack([categories[one.ids], numbers], axis=-1).astype(np.int64))


def as_annotation(one: Panoptic) -> Annotation:
    segments = [
        segment_of(one.ids == n, category, is_thing=category != 3)
        for n, category in one.categories.items()
        if (one.ids == n).any()
    ]
    void = ignored_segment([segment_of(one.ids == 0, 1).rle])
    return truth(*segments, *void)


def test_panoptic_quality_on_panopticapis_example_files(real_data: Path) -> None:
    """The truth scores 1 in every class; without one segment, its class has the PQ that the formula gives."""
    layout = open_layout("coco-panoptic", str(real_data / "coco"))
    annotations = [sample.read_annotation() for sample in layout.samples()]
    assert len(annotations) == 2
    exact = PanopticTask(layout.classes)
    guesses = [_as_found(one) for one in annotations]
    exact.update(guesses, Batch(images=torch.zeros(2, 3, 1, 1), annotations=tuple(annotations)))
    values = exact.result().values
    assert {values[name] for name in ("PQ", "SQ", "RQ", "PQTh", "PQSt")} == {1.0}
    number, category = next(iter(guesses[0].categories.items()))
    of_class = sum(one.category == category and not one.is_crowd for a in annotations for one in a.segments)
    left = {key: value for key, value in guesses[0].categories.items() if key != number}
    guesses[0] = Panoptic(ids=np.where(guesses[0].ids == number, 0, guesses[0].ids), categories=left)
    less = PanopticTask(layout.classes)
    less.update(guesses, Batch(images=torch.zeros(2, 3, 1, 1), annotations=tuple(annotations)))
    by_class = less.result().by_class
    assert by_class[layout.classes[category - 1]] == pytest.approx((of_class - 1) / (of_class - 1 + 0.5))
    assert sorted(by_class.values())[1:] == [1.0] * (len(by_class) - 1)


def _as_found(annotation: Annotation) -> Panoptic:
    ids = np.zeros((annotation.height, annotation.width), dtype=np.int32)
    categories: dict[int, int] = {}
    for number, segment in enumerate(annotation.segments, start=1):
        if not segment.is_crowd:
            ids[mask_of(segment)] = number
            categories[number] = segment.category
    return Panoptic(ids=ids, categories=categories)


def test_panoptic_task_tells_things_from_stuff() -> None:
    meter = PanopticTask(("cat", "sky"))
    true = truth(segment_of(rectangle((0, 0, 50, 40)), 1), segment_of(rectangle((0, 60, 120, 100)), 2, is_thing=False))
    guess = panoptic_of((1, (0, 0, 50, 32)), (2, (0, 60, 120, 100)))
    meter.update([guess], Batch(images=torch.zeros(1), annotations=(true,)))
    scores = meter.result()
    assert scores.by_class == {"cat": pytest.approx(0.8), "sky": pytest.approx(1.0)}
    assert scores.main == scores.values["PQ"] == pytest.approx(0.9)
    assert (scores.values["PQTh"], scores.values["PQSt"]) == (pytest.approx(0.8), pytest.approx(1.0))


def test_interactive_task_by_hand() -> None:
    """The left half of a square: IoU 1/2; the boundaries are 3 pixels wide (2 % of the diagonal of 156)."""
    meter = InteractiveTask(())
    true = truth(segment_of(rectangle((20, 20, 60, 60)), 1), segment_of(rectangle((70, 70, 90, 90)), 1),
                 segment_of(rectangle((0, 0, 9, 9)), 1, is_crowd=True))  # fmt: skip
    guess = np.stack([rectangle((20, 20, 40, 60)), rectangle((70, 70, 90, 90))])
    meter.update([guess], Batch(images=torch.zeros(1), annotations=(true,)))
    scores = meter.result()
    assert scores.main == pytest.approx((0.5 + 1.0) / 2)
    # The square's ring of 3 has 444 pixels; the half's has 324, of which 2 x 20 x 3 + 34 x 3 = 222 are in the former.
    assert scores.values["BIoU"] == pytest.approx((222 / (444 + 324 - 222) + 1.0) / 2)


@pytest.mark.parametrize(("height", "width"), [(50, 80), (80, 50), (64, 64), (33, 7)])
def test_masks_go_to_the_network_and_back(height: int, width: int) -> None:
    frame = Frame(height=height, width=width, side=256)
    mask = np.zeros((height, width), dtype=bool)
    mask[height // 4 : height // 2, 1 : width - 2] = True
    objects = objects_of(Annotation(height=height, width=width, segments=(segment_of(mask, 2),)), frame)
    logits = objects.masks.float() * 20 - 10
    back = instances(torch.tensor([0.5]), torch.tensor([2]), logits, frame)
    assert back.rles is not None
    assert back.categories.tolist() == [2]
    both = coco_mask.iou([back.rles[0]], [segment_of(mask, 1).rle], [0])
    assert both[0, 0] > 0.95
    rectangle_xyxy = detections(torch.tensor([0.5]), torch.tensor([2]), objects.boxes, frame).boxes
    assert rectangle_xyxy == pytest.approx(np.array([[1, height // 4, width - 2, height // 2]]), abs=1e-4)


def test_mirrored_objects_are_those_of_the_mirrored_image(rng: np.random.Generator) -> None:
    mask = rng.random((31, 47)) < 0.3
    mask[:, :9] = False
    frame = Frame(height=31, width=47, side=64)
    one = Annotation(height=31, width=47, segments=(segment_of(mask, 1),))
    other = Annotation(height=31, width=47, segments=(segment_of(mask[:, ::-1], 1),))
    flipped, expected = objects_of(one, frame, flip=True), objects_of(other, frame)
    assert torch.equal(flipped.masks, expected.masks)
    assert torch.allclose(flipped.boxes, expected.boxes)


def test_image_and_mask_lie_alike_in_the_square() -> None:
    """A white object on black: where the mask is, the image is bright."""
    mask = rectangle((30, 20, 90, 70))
    frame = Frame(height=100, width=120, side=64)
    image = square_image(np.repeat(mask[:, :, None], 3, axis=2).astype(np.uint8) * 255, 64)[0] > 127
    objects = objects_of(Annotation(height=100, width=120, segments=(segment_of(mask, 1),)), frame)
    assert (image == objects.masks[0]).float().mean() > 0.98
    assert objects.boxes[0].tolist() == pytest.approx([16, 20 * 64 / 120, 48, 70 * 64 / 120])


def test_label_maps_become_one_object_per_class() -> None:
    labels = torch.tensor([[0, 0, 2], [255, 2, 1]])
    objects = objects_of_labels(labels, 3)
    assert objects.categories.tolist() == [1, 2, 3]
    assert torch.equal(objects.masks[2], labels == 2)
    assert not objects.masks[:, 1, 0].any()
    assert len(objects_of_labels(torch.full((2, 2), 255), 3).masks) == 0


def test_instances_are_sorted_and_empty_masks_are_left_out() -> None:
    frame = Frame(height=64, width=64, side=64)
    logits = torch.full((3, 16, 16), -5.0)
    logits[0, :4, :4] = 5.0
    logits[2, 8:, 8:] = 5.0
    result = instances(torch.tensor([0.2, 0.9, 0.7]), torch.tensor([1, 2, 3]), logits, frame)
    assert result.categories.tolist() == [3, 1]
    assert result.scores.tolist() == pytest.approx([0.7, 0.2])
    assert np.abs(result.boxes - np.array([[32, 32, 64, 64], [0, 0, 16, 16]])).max() <= 1.0
    nothing = instances(torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 16, 16), frame)
    assert (len(nothing.scores), nothing.rles, nothing.boxes.shape) == (0, (), (0, 4))


def test_panoptic_map_from_scored_masks() -> None:
    """The best mask takes a pixel, stuff of one class is one segment, and what is mostly covered is left out."""
    frame = Frame(height=32, width=32, side=32)
    logits = torch.full((5, 32, 32), -9.0)
    logits[0, :, :8] = 9.0  # stuff, left
    logits[1, :, 24:] = 9.0  # the same stuff, right
    logits[2, :16, 8:24] = 9.0  # a thing
    logits[3, :14, 8:24] = 7.0  # under it
    logits[4, 20:30, 10:20] = 9.0  # not sure enough
    scores = torch.tensor([0.95, 0.9, 0.99, 0.85, 0.5])
    categories = torch.tensor([2, 2, 1, 1, 1])
    result = panoptic(scores, categories, logits, torch.tensor([False, True, False]), frame)
    assert sorted(result.categories.values()) == [1, 2]
    number = {category: n for n, category in result.categories.items()}
    assert (result.ids[:, :8] == number[2]).all()
    assert (result.ids[:, 24:] == number[2]).all()
    assert (result.ids[:16, 8:24] == number[1]).all()
    assert (result.ids[16:, 8:24] == 0).all()
    empty = panoptic(scores * 0, categories, logits, torch.tensor([False, True, False]), frame)
    assert (empty.ids.max(), empty.categories) == (0, {})
