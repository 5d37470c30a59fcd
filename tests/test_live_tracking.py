"""A training that is followed in MLflow: curves and pictures arrive while it runs, and it never depends on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import PROJECT

from tasks.tracking_store import GENERATOR_TAG, LIVE_TAG, open_store
from unseg_core.model.fingerprint import generator_sha256

EXPERIMENT = "live"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a data set and weights, ready to train."""
    params = yaml.safe_load((PROJECT / "profiles/starter-smoke.yaml").read_text())
    params["tracking"]["experiment"] = EXPERIMENT
    params["train"]["validation"] = ["scenes-training"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    for program in (("tasks.fetch", "scenes-training"), ("tasks.weights",)):
        assert _run(tmp_path, *program).returncode == 0
    return tmp_path


def _run(root: Path, *program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *program],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def _runs(root: Path) -> list[Any]:
    with open_store(root, EXPERIMENT) as store:
        return list(store.client.search_runs([store.experiment_id]))


@pytest.mark.slow
def test_curves_and_pictures_arrive_and_a_restart_goes_on_in_the_same_run(project: Path) -> None:
    done = _run(project, "tasks.train")
    assert done.returncode == 0, done.stderr
    (run,) = _runs(project)
    assert run.info.status == "FINISHED"
    assert run.data.tags["stage"] == "train"
    assert run.data.tags[GENERATOR_TAG] == generator_sha256(project / "data/generator/generator.safetensors")
    assert {"step/surrogate/loss", "step/generator/loss", "step/learning_rate", "step/images_per_second"} <= set(
        run.data.metrics
    )
    assert "validation/scenes-training/iou_noised" in run.data.metrics
    assert run.data.metrics["health/noise_dead_channels"] == 0
    with open_store(project, EXPERIMENT) as store:
        history = store.client.get_metric_history(run.info.run_id, "step/surrogate/loss")
        panels = [one.path for one in store.client.list_artifacts(run.info.run_id, "panels")]
    assert [point.step for point in history] == [0, 1, 2]
    assert panels == ["panels/epoch-000.png", "panels/epoch-001.png"]
    shutil.rmtree(project / "data/generator")
    assert _run(project, "tasks.train").returncode == 0
    (same,) = _runs(project)
    assert same.info.run_id == run.info.run_id
    assert same.data.tags[LIVE_TAG] == run.data.tags[LIVE_TAG]


@pytest.mark.slow
def test_training_does_not_depend_on_mlflow(project: Path) -> None:
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    done = _run(project, "tasks.train", **away)
    assert done.returncode == 0, done.stderr
    assert "no live tracking" in done.stderr
    assert (project / "data/generator/generator.safetensors").is_file()
