"""The protocol's one command (benchmarks/protocol.py), on data sets that a test makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image
from tiny_layouts import coco_json, entry, instance, photo, polygon, write_json

FAMILIES = ("unetplusplus", "segformer", "mask2former")


def write_nwpu(root: Path, count: int) -> None:
    """Two objects of two classes in each image."""
    for number in range(count):
        photo(root / "imgs" / f"{number:03d}.jpg", number)
    images = [entry(number, f"{number:03d}.jpg") for number in range(count)]
    objects = [
        instance(2 * number + which, number, category, [polygon(4, 4 + 12 * which, 14, 12 + 12 * which)])
        for number in range(count)
        for which, category in enumerate((3, 90))
    ]
    write_json(root / "annotations" / "NWPU_instances_train.json", coco_json(images, objects))


@pytest.mark.slow
def test_continues_with_one_more_method(tmp_path: Path) -> None:
    write_nwpu(tmp_path / "data" / "nwpu", 16)
    command = [sys.executable, "-m", "benchmarks.protocol", str(tmp_path / "data"), str(tmp_path / "out"), "--set"]
    command += ["evaluate.size=64", "evaluate.epochs=1", "--datasets", "nwpu", "--seeds", "0"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], cwd=PROJECT, capture_output=True, text=True, check=False)

    def versions(family: str) -> list[str]:
        results = json.loads((tmp_path / "out" / "nwpu" / family / "results.json").read_text())
        return [one["name"] for one in results["versions"]]

    assert run("--methods", "uniform").returncode == 0
    assert {family: versions(family) for family in FAMILIES} == {family: ["clean", "uniform"] for family in FAMILIES}
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("seed0.json")}
    assert len(kept) == 2 * len(FAMILIES)
    assert run("--methods", "uniform", "synper", "--families", "segformer").returncode == 0
    assert versions("segformer") == ["clean", "uniform", "synper"]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "finished trainings are not trained again"
    more = ("--methods", "uniform", "--families", "segformer", "--defence", "noise:16", "--shares", "0.5")
    assert run(*more).returncode == 0
    assert versions("segformer-noise-16") == ["clean", "uniform 50%"]

    other = run("--methods", "uniform", "--epsilon", "4")
    assert other.returncode == 1
    assert "uniform has the budget 8 and 2" in other.stderr
    mask = np.array(Image.open(tmp_path / "out" / "nwpu" / "original" / "masks" / "003.png"))
    assert mask[8, 8] == mask[8, 20] == 255, "both classes are one mask"
    assert set(np.unique(mask)) == {0, 255}
