"""An evaluation that is cut off, diverges, or lacks a package."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_pairs

from unseg_core.data.layouts import open_layout
from unseg_core.errors import DataError, ExtraError, ParameterError, TrainingError
from unseg_core.evaluate import training
from unseg_core.evaluate.checkpoint import load_checkpoint
from unseg_core.evaluate.dataset import LabelledImages, load_samples
from unseg_core.evaluate.models import build_model
from unseg_core.evaluate.run import evaluate_seeds, train_and_test
from unseg_core.evaluate.scoring import METERS
from unseg_core.evaluate.side_by_side import Named, run_side_by_side
from unseg_core.params import EvaluateParams, RuntimeParams
from unseg_core.train.processes import Processes

CPU = torch.device("cpu")
ONE_THREAD = RuntimeParams(device="cpu", threads=1)
CLASSES = ("disc",)
# With random numbers in the network, in the defence and in the division of an attack.
RECIPES = {
    "dropout": EvaluateParams(model="deeplabv1", width="tiny", size=32, epochs=4, batch_size=4, seeds=(0,)),
    "noise and branches": EvaluateParams(
        encoder="mobilenet_v2", decoder_channels=(16, 16, 8), size=32, epochs=4, batch_size=4, seeds=(0,),
        defences=("noise:16", "ddc-at:4"),
    ),
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> LabelledImages:
    layout = open_layout("folder", str(write_pairs(tmp_path / "data", 9, rng)))
    return load_samples([(layout, one) for one in layout.samples()], 32)


class Killed(BaseException):
    """As a kill does, nothing of the training catches it."""


@pytest.mark.parametrize(
    ("name", "saving", "trained"),
    [
        ("dropout", 1e9, [0, 1, 2, 2, 3]),
        ("noise and branches", 1e9, [0, 1, 2, 2, 3]),
        ("dropout", 1e-9, [0, 1, 2, 1, 2, 3]),
    ],
)
def test_a_killed_seed_goes_on_inside_and_ends_the_same(
    name: str,
    saving: float,
    trained: list[int],
    data: LabelledImages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the last epoch, or, where checkpoints take longer than they may, from the last that has one."""
    torch.set_num_threads(1)
    monkeypatch.setattr(training, "SAVING", saving)
    recipe = RECIPES[name]
    whole = evaluate_seeds(data, data, CLASSES, recipe, ONE_THREAD, tmp_path / "whole")
    done: list[int] = []
    original = training.Training.train_epoch

    def until_killed(self: training.Training, epoch: int) -> float:
        if epoch == 2 and 2 not in done:
            done.append(epoch)
            raise Killed
        done.append(epoch)
        return original(self, epoch)

    monkeypatch.setattr(training.Training, "train_epoch", until_killed)
    with pytest.raises(Killed):
        evaluate_seeds(data, data, CLASSES, recipe, ONE_THREAD, tmp_path / "cut")
    assert (tmp_path / "cut" / "seed0.pt").exists()
    torch.manual_seed(12345)
    assert evaluate_seeds(data, data, CLASSES, recipe, ONE_THREAD, tmp_path / "cut") == whole
    assert done == trained
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["seed0.json"]


def test_a_damaged_checkpoint_costs_the_seed_only(
    data: LabelledImages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    recipe = replace(RECIPES["dropout"], epochs=2)
    whole = train_and_test(data, data, CLASSES, recipe, 0, CPU)
    (tmp_path / "seed0.pt").write_bytes(b"PK damaged")
    assert train_and_test(data, data, CLASSES, recipe, 0, CPU, checkpoint=tmp_path / "seed0.pt") == whole
    assert "cannot be read; starting this seed again" in capsys.readouterr().err
    other = build_model(replace(recipe, model="unetplusplus", encoder="mobilenet_v2"), 1)
    with pytest.raises(TrainingError, match="is of another model"):
        load_checkpoint(tmp_path / "seed0.pt", {"model": other}, Processes())


@pytest.mark.parametrize("parallel", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_finished_seeds_outlive_one_that_diverges(
    parallel: int, data: LabelledImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of three diverges; side by side, where nothing can be patched, all do."""
    torch.set_num_threads(1)
    recipe = replace(RECIPES["dropout"], epochs=1, seeds=(0, 1, 2), parallel=parallel)
    if parallel == 2:
        data = LabelledImages(images=data.images, labels=torch.full_like(data.labels, 255), ids=data.ids)
        with pytest.raises(TrainingError, match=r"nan in epoch 0 of seed 0.*seed 2; .*\(seeds finished and kept: none"):
            evaluate_seeds(data, data, CLASSES, recipe, ONE_THREAD, tmp_path)
        return
    original = training.Training.train_epoch

    def diverging(self: training.Training, epoch: int) -> float:
        if self.seed == 1:
            raise TrainingError("the loss is nan")
        return original(self, epoch)

    monkeypatch.setattr(training.Training, "train_epoch", diverging)
    with pytest.raises(TrainingError, match=r"the loss is nan \(seeds finished and kept: 0, 2\)"):
        evaluate_seeds(data, data, CLASSES, recipe, ONE_THREAD, tmp_path)
    monkeypatch.setattr(training.Training, "train_epoch", lambda self, epoch: pytest.fail("trained again"))
    kept = evaluate_seeds(data, data, CLASSES, replace(recipe, seeds=(0, 2)), ONE_THREAD, tmp_path)
    assert [one.seed for one in kept] == [0, 2]


def _do(what: str, place: int) -> str:
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "wrong":
        raise DataError("a.png is damaged")
    return f"{what} in place {place}" if what else ""


def _jobs(*names: str) -> list[Named[str]]:
    return [Named(name=f"job {number}", job=name) for number, name in enumerate(names)]


def test_a_process_that_is_killed_is_one_failure() -> None:
    first, second = run_side_by_side(_do, _jobs("", "die", "", "no loss"), 2)
    assert first.startswith("job 1: its process ended with -9")
    assert second.startswith("no loss in place")


def test_an_error_of_one_process_is_the_error_of_all() -> None:
    with pytest.raises(DataError, match=r"a\.png is damaged"):
        run_side_by_side(_do, _jobs("", "wrong"), 2)


@pytest.mark.parametrize(
    ("package", "model"),
    [("segmentation_models_pytorch", "unetplusplus"), ("transformers", "mask2former"), ("torchmetrics", "")],
)
def test_a_missing_package_is_named(package: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (package, f"{package}.classification"):
        monkeypatch.setitem(sys.modules, name, None)
    build = partial(build_model, EvaluateParams(model=model, encoder="resnet50"), 1)
    work: Callable[[], object] = build if model else partial(METERS["semantic"][1], CLASSES)
    with pytest.raises(ExtraError, match=rf"needs the package {package}, .* pip install 'unseg\[evaluate\]'"):
        work()


def test_more_processes_than_images_of_a_batch_are_refused(data: LabelledImages) -> None:
    with pytest.raises(ParameterError, match="batch_size is 4 for 8 processes"):
        train_and_test(data, data, CLASSES, RECIPES["dropout"], 0, CPU, processes=Processes(count=8))
    attacked = replace(RECIPES["dropout"], defences=("adversarial:1",))
    with pytest.raises(ParameterError, match="batch_size is 4 for 4 processes; give at least 8: one is attacked"):
        train_and_test(data, data, CLASSES, attacked, 0, CPU, processes=Processes(count=4))
