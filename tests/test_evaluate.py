"""The evaluation of several seeds, in every task, and its stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import PROJECT, write_pairs
from tiny_layouts import make_kvasir, make_nwpu, make_panoptic

from tasks import evaluate as stage
from unseg_core.data.layouts import Layout, open_layout
from unseg_core.data.scenes import SCENE_CLASSES, write_scenes
from unseg_core.errors import DataError, ParameterError, TrainingError
from unseg_core.evaluate.dataset import LabelledImages, ListedImages, load_one, load_samples, open_labelled, part_of
from unseg_core.evaluate.run import evaluate_seeds, train_and_test
from unseg_core.evaluate.scoring import METERS
from unseg_core.evaluate.segmented import SegmentedImages, open_samples
from unseg_core.params import DatasetParams, EvaluateParams, ProtectParams, RuntimeParams, parse_params
from unseg_core.protect.engine import protect_dataset
from unseg_core.protect.manifest import Settings
from unseg_core.protect.methods.uniform import UniformNoise

CPU = torch.device("cpu")
ONE_THREAD = RuntimeParams(device="cpu", threads=1)
SMALL = EvaluateParams(
    encoder="mobilenet_v2", decoder_channels=(32, 16, 16, 16, 16), size=32, epochs=1, batch_size=4, seeds=(0,)
)


def in_memory(layout: Layout, *, test: bool = False, test_share: float = 0.01, size: int = 32) -> LabelledImages:
    return load_samples([(layout, one) for one in part_of(layout, test=test, test_share=test_share)], size)


def test_copy_is_split_like_its_original(tmp_path: Path, rng: np.random.Generator) -> None:
    source, copy = write_pairs(tmp_path / "source", 20, rng), tmp_path / "copy"
    (source / "images" / "photo 03.png").write_bytes(b"x")
    settings = Settings.of(DatasetParams(), ProtectParams(), method="uniform", generator_sha256=None, precision="fp32")
    protect_dataset(open_layout("folder", str(source)), UniformNoise(), settings, str(copy))
    clean = sorted(p.stem for p in (source / "images").iterdir())
    train, test = (in_memory(open_layout("folder", str(copy)), test=test, test_share=0.25) for test in (False, True))
    assert sorted([*train.ids, *test.ids]) == [one for one in clean if one != "photo 03"]
    assert train.images.shape == (len(train.ids), 3, 32, 32)
    assert train.labels.unique().tolist() == [0, 1]
    whole = open_layout("folder", str(source))
    damaged = next(sample for sample in whole.samples() if sample.id == "photo 03")
    with pytest.raises(DataError, match=r"photo 03"):
        load_one(whole, damaged, 32)


def scenes(tmp_path: Path, count: int, size: int) -> LabelledImages:
    write_scenes(tmp_path / "scenes", count=count, size=64, seed=5)
    layout = open_layout("folder", str(tmp_path / "scenes"))
    return in_memory(layout, size=size)


@pytest.mark.slow
def test_model_overfits_a_handful_of_scenes(tmp_path: Path) -> None:
    data = scenes(tmp_path, 9, 64)
    recipe = EvaluateParams(
        encoder="mobilenet_v2", decoder_channels=(64, 32, 16, 16, 16), size=64, epochs=80, batch_size=8,
        learning_rate=3e-3, seeds=(0,), test_every=80,
    )  # fmt: skip
    result = train_and_test(data, data, SCENE_CLASSES, recipe, 0, CPU)
    assert result.iou > 0.8


def test_same_seed_same_result_and_finished_seeds_are_kept(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    data = scenes(tmp_path, 7, 32)
    recipe = EvaluateParams(**{**SMALL.__dict__, "seeds": (3, 4)})
    first = evaluate_seeds(data, data, SCENE_CLASSES, recipe, ONE_THREAD, tmp_path / "work")
    assert [r.seed for r in first] == [3, 4]
    assert first[0].iou != first[1].iou
    assert train_and_test(data, data, SCENE_CLASSES, recipe, 3, CPU) == first[0]
    side_by_side = EvaluateParams(**{**recipe.__dict__, "parallel": 2})
    assert evaluate_seeds(data, data, SCENE_CLASSES, side_by_side, ONE_THREAD, tmp_path / "other") == first
    kept = tmp_path / "work" / "seed3.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "iou": 0.123}))
    assert evaluate_seeds(data, data, SCENE_CLASSES, recipe, ONE_THREAD, tmp_path / "work")[0].iou == 0.123


def test_warm_up_of_one_step(tmp_path: Path) -> None:
    """A tenth of ten steps."""
    data = scenes(tmp_path, 4, 32)
    recipe = EvaluateParams(**{**SMALL.__dict__, "epochs": 10, "test_every": 10})
    assert train_and_test(data, data, SCENE_CLASSES, recipe, 0, CPU).train_loss > 0


def test_diverging_training_stops(tmp_path: Path) -> None:
    data = scenes(tmp_path, 7, 32)
    recipe = EvaluateParams(**{**SMALL.__dict__, "learning_rate": 1.0, "epochs": 60, "test_every": 60})
    broken = LabelledImages(images=data.images, labels=torch.full_like(data.labels, 255), ids=data.ids)
    with pytest.raises(TrainingError, match="the loss is nan"):
        train_and_test(broken, data, SCENE_CLASSES, recipe, 0, CPU)


MAKERS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "instance": ("mask2former", make_nwpu, "nwpu"),
    "panoptic": ("mask2former", make_panoptic, "coco-panoptic"),
    "detection": ("dino", make_nwpu, "nwpu"),
    "interactive": ("sam_hq", make_kvasir, "kvasir"),
}
"""Model, data set and layout for each task of segments."""


def segment_recipe(task: str, **changes: Any) -> EvaluateParams:
    settings = {
        "task": task, "model": MAKERS[task][0], "encoder": "vit_b" if task == "interactive" else "resnet50",
        "width": "tiny", "size": 64, "epochs": 1, "batch_size": 2, "seeds": (0,), **changes,
    }  # fmt: skip
    return EvaluateParams(**settings)


def tiny_split(task: str, root: Path) -> tuple[SegmentedImages, tuple[str, ...]]:
    _, make, name = MAKERS[task]
    make(root)
    layout = open_layout(name, str(root))
    return open_samples([(layout, one) for one in layout.samples()], 64), layout.classes


@pytest.mark.parametrize("task", list(MAKERS))
def test_every_task_of_segments_is_the_same_again(task: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    data, classes = tiny_split(task, tmp_path / "data")
    recipe = segment_recipe(task, seeds=(3, 4))
    first = evaluate_seeds(data, data, classes, recipe, ONE_THREAD, tmp_path / "work")
    assert first[0].train_loss != first[1].train_loss
    assert METERS[task][0] in first[0].scores
    assert first[0].iou == first[0].scores[METERS[task][0]]
    assert train_and_test(data, data, classes, recipe, 4, CPU) == first[1]
    (tmp_path / "work" / "seed4.json").unlink()
    assert evaluate_seeds(data, data, classes, recipe, ONE_THREAD, tmp_path / "work") == first


@pytest.mark.slow
def test_seeds_of_segments_side_by_side(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    data, classes = tiny_split("detection", tmp_path / "data")
    recipe = segment_recipe("detection", seeds=(3, 4))
    one_by_one = evaluate_seeds(data, data, classes, recipe, ONE_THREAD, tmp_path / "work")
    together = segment_recipe("detection", seeds=(3, 4), parallel=2)
    assert evaluate_seeds(data, data, classes, together, ONE_THREAD, tmp_path / "other") == one_by_one


def test_a_split_that_fits_no_memory_trains_alike(tmp_path: Path, rng: np.random.Generator) -> None:
    """Batches are the same to the byte, and so is what a model learns; processes of their own take such a split too."""
    torch.set_num_threads(1)
    layout = open_layout("folder", str(write_pairs(tmp_path / "data", 10, rng)))
    placed = [(layout, one) for one in layout.samples()]
    kept = open_labelled(placed, 32, memory_gib=10 * 32 * 32 * 4 / 2**30, workers=3)
    listed = open_labelled(placed, 32, memory_gib=9 * 32 * 32 * 4 / 2**30, workers=3)
    assert isinstance(kept, LabelledImages)
    assert isinstance(listed, ListedImages)
    assert listed.ids == kept.ids
    for draws in (None, 5):
        one, other = (
            split.batch([7, 0, 3], CPU, None if draws is None else np.random.default_rng(draws))
            for split in (kept, listed)
        )
        assert torch.equal(one.images, other.images)
        assert one.labels is not None
        assert other.labels is not None
        assert torch.equal(one.labels, other.labels)
    recipe = EvaluateParams(model="unet", width="tiny", size=32, epochs=2, batch_size=4, seeds=(0, 1), parallel=2)
    found = [
        evaluate_seeds(split, kept, layout.classes, recipe, ONE_THREAD, tmp_path / name)
        for split, name in ((kept, "kept"), (listed, "listed"))
    ]
    assert found[0] == found[1]


def test_segments_are_split_like_label_maps(tmp_path: Path, rng: np.random.Generator) -> None:
    source, copy = write_pairs(tmp_path / "source", 12, rng), tmp_path / "copy"
    (source / "images" / "photo 03.png").write_bytes(b"x")
    settings = Settings.of(DatasetParams(), ProtectParams(), method="uniform", generator_sha256=None, precision="fp32")
    protect_dataset(open_layout("folder", str(source)), UniformNoise(), settings, str(copy))
    layout = open_layout("folder", str(copy))
    for test in (False, True):
        placed = [(layout, one) for one in part_of(layout, test=test, test_share=0.25)]
        assert open_samples(placed, 32).ids == in_memory(layout, test=test, test_share=0.25).ids
    batch = open_samples(placed, 32).batch([0, 1], CPU)
    assert batch.images.shape == (2, 3, 32, 32)
    assert [(one.height, one.width) for one in batch.annotations] == [(40, 48), (40, 48)]
    whole = SegmentedImages(root=str(source), samples=tuple(open_layout("folder", str(source)).samples()), size=32)
    with pytest.raises(DataError, match=r"photo 03"):
        whole.batch(range(12), CPU)


def test_gradients_are_scaled_down(tmp_path: Path) -> None:
    data = scenes(tmp_path, 7, 32)
    recipes = [EvaluateParams(**{**SMALL.__dict__, "clip_norm": norm, "epochs": 2}) for norm in (0.0, 1e-6, 1e5)]
    losses = [train_and_test(data, data, SCENE_CLASSES, one, 3, CPU).train_loss for one in recipes]
    assert losses[0] == losses[2] != losses[1]


def profile(**run: Any) -> dict[str, Any]:
    mapping: dict[str, Any] = yaml.safe_load((PROJECT / "profiles" / "starter.yaml").read_text(encoding="utf-8"))
    mapping["runs"]["scenes-clean"] |= run
    return mapping


def test_a_run_may_have_a_recipe_of_its_own() -> None:
    own = {"task": "medical", "epochs": 3, "seeds": [7]}
    params = parse_params(profile(evaluate=own), origin="x")
    recipe = params.recipe("scenes-clean")
    assert (recipe.task, recipe.epochs, recipe.seeds, recipe.size) == ("medical", 3, (7,), params.evaluate.size)
    assert params.recipe("scenes-uniform") == params.evaluate
    for wrong, message in (
        ({"epoch": 3}, "runs.scenes-clean.evaluate.epoch is not a parameter; did you mean 'epochs'"),
        ({"task": "magic"}, "runs.scenes-clean.evaluate.task is 'magic'; choose one of semantic"),
        ({"size": 1}, "evaluate.size is 1"),
    ):
        with pytest.raises(ParameterError, match=message):
            parse_params(profile(evaluate=wrong), origin="x")


@pytest.mark.parametrize("task", ["semantic", "medical", "detection"])
def test_stage_writes_the_scores_of_its_task(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (make_nwpu if task == "detection" else make_kvasir)(Path("data/datasets/photos"))
    own: dict[str, Any] = {"task": task, "size": 64, "epochs": 1, "batch_size": 2, "seeds": [0]}
    own |= {"model": "dino", "width": "tiny", "encoder": "resnet50"} if task == "detection" else {}
    mapping = profile()
    mapping["datasets"] = {"photos": {"layout": "nwpu" if task == "detection" else "kvasir", "test_share": 0.3}}
    mapping["runs"] = {"clean": {"dataset": "photos", "train_on": "data/datasets/photos", "evaluate": own}}
    mapping |= {"protect": {"datasets": ["photos"]}}
    Path("params.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
    stage.main(["clean"])
    metrics = json.loads(Path("metrics/evaluate/clean.json").read_text(encoding="utf-8"))
    again = Path("plots/evaluate/clean.csv").read_text(encoding="utf-8")
    stage.main(["clean"])
    assert json.loads(Path("metrics/evaluate/clean.json").read_text(encoding="utf-8")) == metrics
    assert Path("plots/evaluate/clean.csv").read_text(encoding="utf-8") == again
    seed = metrics["seeds"][0]
    if task == "semantic":
        assert not {"task", "metric"} & set(metrics)
        assert set(seed) == {"seed", "iou", "class_iou", "train_loss"}
        return
    assert (metrics["task"], metrics["metric"]) == (task, METERS[task][0])
    assert set(seed["class_iou"]) == set(metrics["classes"])
    assert seed["iou"] == metrics["iou_mean"] == seed["scores"][METERS[task][0]]
    assert metrics["AP50_mean" if task == "detection" else "Dice_mean"] is not None
