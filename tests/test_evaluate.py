"""Downstream models, metrics and the evaluation of several seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_pairs

from unseg_core.data.layouts import open_layout
from unseg_core.data.scenes import SCENE_CLASSES, write_scenes
from unseg_core.errors import DataError, ParameterError, TrainingError
from unseg_core.evaluate.dataset import LabelledImages, load_one, load_split
from unseg_core.evaluate.metrics import IouMeter
from unseg_core.evaluate.models import MODELS, build_model
from unseg_core.evaluate.run import evaluate_seeds, train_and_test
from unseg_core.params import DatasetParams, EvaluateParams, ProtectParams, RuntimeParams
from unseg_core.protect.engine import protect_dataset
from unseg_core.protect.manifest import Settings
from unseg_core.protect.methods.uniform import UniformNoise

CPU = torch.device("cpu")
ONE_THREAD = RuntimeParams(device="cpu", threads=1)
SMALL = EvaluateParams(
    encoder="mobilenet_v2", decoder_channels=(32, 16, 16, 16, 16), size=32, epochs=1, batch_size=4, seeds=(0,)
)


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("classes", [2, 5])
def test_every_model_maps_images_to_logits_and_learns(name: str, classes: int) -> None:
    torch.manual_seed(0)
    model = build_model(EvaluateParams(**{**SMALL.__dict__, "model": name}), classes)
    images, labels = torch.rand(2, 3, 32, 32), torch.randint(0, classes, (2, 32, 32))
    logits = model(images)
    assert logits.shape == (2, classes, 32, 32)
    torch.nn.functional.cross_entropy(logits, labels).backward()
    silent = [
        n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
    assert not silent


def test_unknown_model_and_encoder() -> None:
    with pytest.raises(ParameterError, match="choose one of unetplusplus"):
        build_model(EvaluateParams(model="magic"), 2)
    with pytest.raises(ParameterError, match="no such encoder"):
        build_model(EvaluateParams(encoder="magic"), 2)


def test_iou_by_hand() -> None:
    meter = IouMeter(("cat", "dog", "never"))
    meter.update(torch.tensor([[[0, 1, 1, 2]]]), torch.tensor([[[0, 1, 2, 255]]]))
    meter.update(torch.tensor([[[1, 1, 1, 0]]]), torch.tensor([[[1, 0, 1, 0]]]))
    mean, by_class = meter.result()
    assert by_class == {"background": pytest.approx(2 / 3), "cat": pytest.approx(3 / 5), "dog": 0.0}
    assert mean == pytest.approx((3 / 5 + 0.0) / 2)


def test_copy_is_split_like_its_original(tmp_path: Path, rng: np.random.Generator) -> None:
    source, copy = write_pairs(tmp_path / "source", 20, rng), tmp_path / "copy"
    (source / "images" / "photo 03.png").write_bytes(b"x")
    settings = Settings.of(DatasetParams(), ProtectParams(), method="uniform", generator_sha256=None, precision="fp32")
    protect_dataset(open_layout("folder", str(source)), UniformNoise(), settings, str(copy))
    clean = sorted(p.stem for p in (source / "images").iterdir())
    train = load_split(open_layout("folder", str(copy)), test=False, test_share=0.25, size=32)
    test = load_split(open_layout("folder", str(copy)), test=True, test_share=0.25, size=32)
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
    return load_split(layout, test=False, test_share=0.01, size=size)


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


def test_diverging_training_stops(tmp_path: Path) -> None:
    data = scenes(tmp_path, 7, 32)
    recipe = EvaluateParams(**{**SMALL.__dict__, "learning_rate": 1.0, "epochs": 60, "test_every": 60})
    broken = LabelledImages(images=data.images, labels=torch.full_like(data.labels, 255), ids=data.ids)
    with pytest.raises(TrainingError, match="the loss is nan"):
        train_and_test(broken, data, SCENE_CLASSES, recipe, 0, CPU)
