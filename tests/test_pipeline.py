"""The whole graph at its smallest, as users run it: `dvc repro`, the Prefect flow, and real photographs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

from unseg_core.protect.verify import verify_copy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def project(target: Path, profile: str) -> Path:
    """A copy of the project as git sees it, with nothing run yet."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    for name in filter(None, listed):
        is_result = name.startswith(("metrics/", "plots/")) and not name.endswith(".gitkeep")
        if name != "dvc.lock" and not is_result and not name.startswith("tests/") and (PROJECT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, target / name)
    shutil.copy2(PROJECT / "profiles" / f"{profile}.yaml", target / "params.yaml")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in ([*git, "init", "-q"], [*git, "add", "-A"], [*git, "commit", "-qm", "start"]):
        subprocess.run(command, cwd=target, check=True)
    return target


def run(root: Path, *command: str, data: Path | None = None, fails: bool = False) -> str:
    """Run a program of this environment in `root`; returns what it printed, and fails with that."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "true",
        "PREFECT_HOME": str(root / ".prefect"),
        **({"UNSEG_DATA": str(data)} if data else {}),
    }
    environment.pop("PREFECT_API_URL", None)
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    printed = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, printed[-4000:]
    return printed


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = project(tmp_path_factory.mktemp("dvc"), "starter-smoke")
    run(root, "dvc", "repro")
    return root


def test_dvc_repro_makes_everything_that_the_report_promises(reproduced: Path) -> None:
    comparison = json.loads((reproduced / "metrics" / "comparison.json").read_text())
    assert set(comparison["scenes"]) == {"clean", "uniform", "unseg"}
    for method in ("uniform", "unseg"):
        metrics = json.loads((reproduced / "metrics" / "protect" / f"scenes-{method}.json").read_text())
        assert metrics["protected"] == 16
        assert (metrics["linf_inside"], metrics["linf_outside"]) <= (8, 2)
        copy = reproduced / "data" / "protected" / "scenes" / method
        assert verify_copy(str(copy), str(reproduced / "data" / "datasets" / "scenes")).differences == ()
    report = (reproduced / "data" / "report" / "report.html").read_text(encoding="utf-8")
    generator = json.loads((reproduced / "metrics" / "train.json").read_text())["generator_sha256"]
    assert generator[:12] in report
    assert not (reproduced / "data" / "work").exists() or not any((reproduced / "data" / "work").rglob("*.json*"))


def test_second_repro_does_nothing_and_the_run_cache_restores(reproduced: Path) -> None:
    assert "Running stage" not in run(reproduced, "dvc", "repro")
    before = (reproduced / "dvc.lock").read_bytes()
    params = reproduced / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("gallery: 2", "gallery: 3"))
    assert run(reproduced, "dvc", "repro").count("Running stage") == 1
    params.write_text(text)
    back = run(reproduced, "dvc", "repro")
    assert "Running stage" not in back
    assert "Stage 'report' is cached" in back
    assert (reproduced / "dvc.lock").read_bytes() == before


def test_ablation_by_parameter_only(reproduced: Path, tmp_path: Path) -> None:
    root = shutil.copytree(reproduced, tmp_path / "ablation", symlinks=True)
    before = json.loads((root / "metrics" / "train.json").read_text())
    run(root, "dvc", "exp", "run", "-S", "train.label_modification=false", "train")
    after = json.loads((root / "metrics" / "train.json").read_text())
    card = json.loads((root / "data" / "generator" / "card.json").read_text())
    assert card["label_modification"] is False
    assert after["generator_sha256"] != before["generator_sha256"]
    # The first epoch trains the surrogate, which the change does not touch.
    assert after["surrogate_loss"] == before["surrogate_loss"]
    assert after["generator_loss"] != before["generator_loss"]


def test_flow_ends_with_the_lock_of_dvc_repro(reproduced: Path, tmp_path: Path) -> None:
    root = project(tmp_path, "starter-smoke")
    printed = run(root, "flows.reproduce")
    assert (root / "dvc.lock").read_bytes() == (reproduced / "dvc.lock").read_bytes()
    assert (root / "mlflow.db").exists()
    assert "evaluate@scenes-unseg" in printed


def test_real_photographs_go_the_same_road(real_data: Path, tmp_path: Path) -> None:
    root = project(tmp_path, "objects-smoke")
    run(root, "dvc", "repro", data=real_data)
    metrics = json.loads((root / "metrics" / "protect" / "kvasir-unseg.json").read_text())
    assert (metrics["images"], metrics["protected"], metrics["failed"]) == (24, 24, 0)
    assert metrics["verified"]["differences"] == 0
    assert json.loads((root / "metrics" / "train.json").read_text())["images"] == 24
    # An audit that cannot tell holds up what depends on it.
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("audit: {datasets: []", "audit: {datasets: [kvasir]"))
    printed = run(root, "dvc", "repro", data=real_data, fails=True)
    assert "cannot tell: the data set is too small" in printed
    assert "Running stage 'report'" not in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("epochs: 2", "epoch: 2"), "params.yaml: train.epoch is not a parameter; did you mean 'epochs'?"),
        (
            ("kind: scenes, count: 12, size: 64", "kind: files, path: nowhere"),
            "nowhere is not a folder; check the path",
        ),
    ],
)
def test_mistakes_stop_a_stage_with_one_line_and_leave_nothing(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    root = project(tmp_path, "starter-smoke")
    params = root / "params.yaml"
    params.write_text(params.read_text().replace(*change))
    done = subprocess.run(
        [sys.executable, "-m", "tasks.fetch", "scenes-training"],
        cwd=root, env={**os.environ, "UNSEG_DATA": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (root / "data" / "training").exists()
