"""`unseg evaluate`: a data set and its copies, in one process and in two that `torchrun` starts."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import PROJECT, write_pairs
from PIL import Image
from tiny_layouts import make_nwpu
from typer.testing import CliRunner

from unseg_core.cli import app
from unseg_core.data.layouts import open_layout
from unseg_core.evaluate.image_scores import from_rows, score_of

RECIPE = (
    "evaluate.task=medical", "evaluate.model=unet", "evaluate.width=tiny", "evaluate.size=32", "evaluate.epochs=2",
    "evaluate.batch_size=4", "evaluate.seeds=[0,1]", "runtime.device=cpu", "runtime.threads=1",
)  # fmt: skip
SETTINGS = [text for one in RECIPE for text in ("--set", one)]
# No normalisation and no dropout, so that the parts of a batch do not touch each other.
PLAIN_MODEL = """
import sys
from torch import nn
import unseg_core.cli as cli
from unseg_core.evaluate.models import MODELS
from unseg_core.evaluate.models.model import Entry
from unseg_core.evaluate.models.semantic import SemanticModel
def build(params, classes):
    layers = [nn.Conv2d(3, 8, 5, padding=2), nn.Tanh(), nn.Conv2d(8, classes + 1, 5, padding=2)]
    return SemanticModel(nn.Sequential(*layers))
MODELS["plain"] = Entry(build=build, tasks=frozenset({"medical"}))
if __name__ == "__main__":
    cli.app(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and a copy with uniform noise, safe/, beside it."""
    root = tmp_path_factory.mktemp("evaluate")
    write_pairs(root / "photos", 14, np.random.default_rng(0))
    ran("protect", str(root / "photos"), str(root / "safe"), "--method", "uniform")
    return root


def ran(*arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout.strip().splitlines()[-1])


def arguments(photos: Path, out: Path, *more: str) -> list[str]:
    return ["evaluate", str(photos / "photos"), str(photos / "safe"), "--out", str(out), *SETTINGS, *more]


def test_versions_are_compared(photos: Path, tmp_path: Path) -> None:
    result = ran(*arguments(photos, tmp_path / "out", "--protected-share", "0.5", "--protected-share", "1"))
    assert [one["name"] for one in result["versions"]] == ["clean", "safe 50%", "safe"]
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == result
    clean, _, safe = result["versions"]
    assert "ratio" not in clean
    assert safe["difference"]["value"] == pytest.approx(safe["mean"] - clean["mean"])
    assert safe["difference"]["low"] <= safe["difference"]["value"] <= safe["difference"]["high"]
    assert (result["metric"], result["test_images"], safe["train_images"]) == ("IoU", 3, 11)
    assert clean["deviation"] == pytest.approx(np.std([one["score"] for one in clean["seeds"]], ddof=1))
    with (tmp_path / "out" / "safe.csv").open() as file:
        images = from_rows(csv.DictReader(file))
    assert [score_of(images[one["seed"]]) for one in safe["seeds"]] == pytest.approx(
        [one["score"] for one in safe["seeds"]]
    )
    text = CliRunner().invoke(app, arguments(photos, tmp_path / "out"))
    assert text.stdout.splitlines()[0] == "| trained on | IoU | of clean | seeds |"
    assert len(text.stdout.splitlines()) == 4


def test_the_report_on_a_copy_takes_the_results(photos: Path, tmp_path: Path) -> None:
    """The copy's own method is judged, and a share of it is a row of its own."""
    shares = ("--protected-share", "0.5", "--protected-share", "1")
    result = ran(*arguments(photos, tmp_path / "out", *shares))
    page, results = tmp_path / "report.html", tmp_path / "out" / "results.json"
    report = ("report", str(photos / "safe"), "--against", str(photos / "photos"), "--out", str(page))
    found = ran(*report, "--evaluation", str(results))
    clean, half, safe = result["versions"]
    assert found["sentence"].startswith(f"Models trained on the protected copy reach IoU {safe['mean']:.2f} on clean")
    text = page.read_text(encoding="utf-8")
    assert "uniform 50%" in text
    for one in (clean, half, safe):
        assert all(f"{seed['score']:.3f}" in text for seed in one["seeds"])
    broken = {**result, "versions": [{**clean, "method": None}]}
    results.write_text(json.dumps(broken))
    assert "'method' must be a text" in ran(*report, "--evaluation", str(results), code=2)["error"]


def test_a_report_takes_no_results_of_another_copy(photos: Path, tmp_path: Path) -> None:
    """By the same method; those of other methods stand beside it."""
    for name, method in (("weak", "uniform"), ("other", "ar")):
        options = ("--method", method, "--epsilon", "1", "--seed", "5")
        ran("protect", str(photos / "photos"), str(tmp_path / name), *options)
    copies = [str(photos / "safe"), str(tmp_path / "weak"), str(tmp_path / "other")]
    result = ran("evaluate", str(photos / "photos"), *copies, "--out", str(tmp_path / "out"), *SETTINGS)
    report = ("--against", str(photos / "photos"), "--out", str(tmp_path / "report.html"))
    for number, copy in enumerate(copies[:2], start=1):
        found = ran("report", copy, *report, "--evaluation", str(tmp_path / "out" / "results.json"))
        assert f"reach IoU {result['versions'][number]['mean']:.2f} on clean" in found["sentence"]
    del result["versions"][1]
    (tmp_path / "two.json").write_text(json.dumps(result))
    refused = ran("report", copies[0], *report, "--evaluation", str(tmp_path / "two.json"), code=2)
    assert "two.json is the evaluation of another copy" in refused["error"]


def test_other_masks_are_trained_anew(photos: Path, tmp_path: Path) -> None:
    others = tmp_path / "masks"
    others.mkdir()
    for mask in sorted((photos / "photos" / "masks").iterdir()):
        Image.fromarray(255 - np.asarray(Image.open(mask))).save(others / mask.name)
    clean = ("evaluate", str(photos / "photos"), "--out", str(tmp_path / "out"))
    first = ran(*clean, *SETTINGS)
    assert ran(*clean, *SETTINGS, "--masks", str(others))["versions"] != first["versions"]
    assert ran(*clean, *SETTINGS) == first


def test_finished_seeds_are_used_again(photos: Path, tmp_path: Path) -> None:
    result = ran(*arguments(photos, tmp_path / "out"))
    kept = sorted((tmp_path / "out" / ".work").rglob("seed*.json"))
    assert len(kept) == 4
    times = [path.stat().st_mtime_ns for path in kept]
    assert ran(*arguments(photos, tmp_path / "out")) == result
    assert ran(*arguments(photos, tmp_path / "other", "--set", "evaluate.parallel=3")) == result
    assert [path.stat().st_mtime_ns for path in kept] == times
    ran(*arguments(photos, tmp_path / "out", "--set", "evaluate.seeds=[0,1,2]"))
    assert len(list((tmp_path / "out" / ".work").rglob("seed*.json"))) == 6
    ran(*arguments(photos, tmp_path / "out", "--defence", "jpeg:50"))
    assert len(list((tmp_path / "out" / ".work").rglob("seed*.json"))) == 10


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--defence", "magic"), "'magic' is unknown"),
        (("--protected-share", "2"), "protected_share is 2"),
        (("--set", "train.epochs=2"), "write evaluate.NAME=VALUE"),
        (("--test-share", "0"), "test_share is 0"),
        (("--set", "evaluate.task=panoptic"), "has no task 'panoptic'"),
    ],
)
def test_mistakes_exit_with_2(more: tuple[str, ...], message: str, photos: Path, tmp_path: Path) -> None:
    assert message in ran(*arguments(photos, tmp_path / "out", *more), code=2)["error"]


def test_a_folder_that_is_no_copy_exits_with_2(photos: Path, tmp_path: Path) -> None:
    source = str(photos / "photos")
    error = ran("evaluate", source, source + "/", "--out", str(tmp_path), *SETTINGS, code=2)["error"]
    assert "no complete manifest" in error
    assert not list(tmp_path.rglob("seed*")), "trained before the copy was looked at"


@pytest.mark.slow
def test_killed_side_by_side_leaves_nothing_and_goes_on(photos: Path, tmp_path: Path) -> None:
    more = ("--set", "evaluate.parallel=2", "--set", "evaluate.epochs=20", "--set", "evaluate.test_every=20")
    command = [sys.executable, "-m", "unseg_core.cli", *arguments(photos, tmp_path / "cut", *more)]
    with subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.DEVNULL) as process:
        while not list((tmp_path / "cut").rglob("seed*.pt")):
            assert process.poll() is None
            time.sleep(0.05)
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert len(below) >= 3, "the server and two trainings"
    assert not psutil.wait_procs(below, timeout=60)[1]
    assert not list((tmp_path / "cut").rglob("seed*.json")), "trained on"
    assert ran(*arguments(photos, tmp_path / "cut", *more)) == ran(*arguments(photos, tmp_path / "whole", *more))


@pytest.mark.slow
def test_two_processes_train_as_one_does(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PLAIN_MODEL)
    found = {}
    for processes in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"] if processes == 2 else []
        out = tmp_path / f"{processes}"
        done = subprocess.run(
            [sys.executable, *launcher, str(tmp_path / "plain.py"),
             *arguments(photos, out, "--set", "evaluate.model=plain", "--set", "evaluate.clip_norm=1", "--json")],
            env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=True, timeout=600,
        )  # fmt: skip
        found[processes] = json.loads(done.stdout)
        curves = [json.loads(path.read_text()) for path in sorted((out / ".work").rglob("seed*.json"))]
        found[f"curve {processes}"] = sorted(point["train_loss"] for one in curves for point in one["curve"])
    assert found["curve 2"] == pytest.approx(found["curve 1"], rel=1e-4)
    for one, two in zip(found[1]["versions"], found[2]["versions"], strict=True):
        assert two["mean"] == pytest.approx(one["mean"], abs=0.02)


def test_the_official_test_split(tmp_path: Path) -> None:
    """Protect and train on one split, test on the other."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    make_nwpu(source)
    ran("protect", str(source), str(copy), "--split", "train")
    command = [
        "evaluate",
        str(source),
        str(copy),
        "--out",
        str(tmp_path / "out"),
        *SETTINGS,
        "--set",
        "evaluate.task=semantic",
    ]
    result = ran(*command, "--split", "train", "--test-split", "val")
    counts = [sum(1 for _ in open_layout("nwpu", str(source), split=name).samples()) for name in ("train", "val")]
    assert [result["versions"][1]["train_images"], result["test_images"]] == counts
    assert "needs --split" in ran(*command, "--test-split", "val", code=2)["error"]
    assert (
        "has no split 'test'; it has train, val"
        in ran(*command, "--split", "train", "--test-split", "test", code=2)["error"]
    )
