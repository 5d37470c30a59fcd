"""What DVC tracks becomes MLflow runs, and the generator a registered model that gives the same noise."""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import write_pairs
from dvc.repo import Repo
from typer.testing import CliRunner

from tasks import tracking
from tasks.register import register_stage
from tasks.tracking import track_project
from tasks.tracking_store import GENERATOR_TAG, LIVE_TAG, open_store, tracking_uri
from unseg_core.cli import app
from unseg_core.errors import DataError, ParameterError, UnsegError, WeightsError
from unseg_core.model.generator import Generator
from unseg_core.model.registry_uri import quiet_mlflow, resolve_model_uri
from unseg_core.model.sizes import size_by_name
from unseg_core.model.weights import initialise, load_generator, save_weights
from unseg_core.protect.methods.unseg import image_noise

quiet_mlflow()
mlflow = pytest.importorskip("mlflow")
# MLflow's own, at its first use: about its type hints and its way with SQLAlchemy.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]

REPOSITORY = Path(__file__).parent.parent
STAGES = ("train", "protect@scenes", "baseline@scenes-uniform", "evaluate@scenes-clean")
PARAMS = {
    "profile": "test",
    "runtime": {"device": "cpu", "threads": 1},
    "sources": {"scenes-training": {"role": "training", "kind": "scenes", "count": 2}},
    "train": {"sources": ["scenes-training"], "epochs": 3},
    "datasets": {"scenes": {"classes": ["disc", "brick & star"]}},
    "protect": {"datasets": ["scenes"]},
    "evaluate": {"seeds": [0, 7]},
    "runs": {"scenes-clean": {"dataset": "scenes", "train_on": "data/datasets/scenes"}},
    "tracking": {"experiment": "test"},
}
LOSSES = (("surrogate", 1.5), ("generator", 0.9), ("generator", 0.7))


def table(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def train_files(sha256: str) -> dict[str, bytes]:
    metrics = {"size": "tiny", "generator_sha256": sha256, "images": 2, "generator_loss": 0.7, "noise_std": None}
    curve = [{"epoch": e, "phase": p, "loss": v, "learning_rate": 0.001} for e, (p, v) in enumerate(LOSSES)]
    return {"metrics/train.json": json.dumps(metrics).encode(), "plots/train.csv": table(curve)}


def protect_files(method: str) -> dict[str, bytes]:
    metrics = {"dataset": "scenes", "method": method, "images": 4, "psnr": 31.5, "verified": {"checked": 4}}
    return {f"metrics/protect/scenes-{method}.json": json.dumps(metrics).encode()}


def evaluate_files() -> dict[str, bytes]:
    seeds = [{"seed": s, "iou": 0.5 + s / 100, "class_iou": {"brick & star": 0.25}, "train_loss": 0.1} for s in (0, 7)]
    metrics = {"run": "scenes-clean", "seeds": seeds, "iou_mean": 0.535, "iou_std": 0.035, "classes": ["disc"]}
    rows = [
        {"seed": s, "epoch": e, "train_loss": 0.3 - e / 10, "test_iou": "" if e else 0.4}
        for s in (0, 7)
        for e in (0, 1)
    ]
    return {
        "metrics/evaluate/scenes-clean.json": json.dumps(metrics).encode(),
        "plots/evaluate/scenes-clean.csv": table(rows),
    }


def lock_entry(name: str, files: dict[str, bytes]) -> dict[str, Any]:
    outs = [
        {"path": path, "hash": "md5", "md5": hashlib.md5(data).hexdigest(), "size": len(data)}
        for path, data in sorted(files.items())
    ]
    section = {"evaluate": PARAMS["evaluate"], "runs.scenes-clean": PARAMS["runs"]["scenes-clean"]}  # type: ignore[index]
    entry = {"cmd": f"python -m tasks.{name}", "params": {"params.yaml": section}, "outs": outs}
    return dict(json.loads(json.dumps(entry)))  # no part shared with another entry


def write_results(root: Path, stages: dict[str, dict[str, bytes]]) -> None:
    """Metrics, plots and the dvc.lock that records them."""
    for path, data in ((path, data) for files in stages.values() for path, data in files.items()):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    lock = {"schema": "2.0", "stages": {name: lock_entry(name, files) for name, files in stages.items()}}
    (root / "dvc.lock").write_text(yaml.safe_dump(lock))


def write_generator(root: Path, seed: int) -> str:
    folder = root / "data/generator"
    folder.mkdir(parents=True, exist_ok=True)
    network = initialise(Generator, size_by_name("tiny"), seed)
    sha256 = save_weights(network, folder / "generator.safetensors", kind="generator", provenance={"seed": seed})
    (folder / "card.json").write_text(json.dumps({"size": "tiny", "seed": seed, "sha256": sha256}))
    return sha256


def write_project(root: Path, seed: int = 0) -> str:
    """A project whose stages DVC has run; returns the generator's sha256."""
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    sha256 = write_generator(root, seed)
    results = (train_files(sha256), protect_files("unseg"), protect_files("uniform"), evaluate_files())
    write_results(root, dict(zip(STAGES, results, strict=True)))
    return sha256


@pytest.fixture(autouse=True)
def _own_mlflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables take seconds to make; made once and copied."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def project(tmp_path: Path, empty_database: Path) -> Path:
    root = tmp_path / "a project"  # the space is on purpose
    root.mkdir()
    write_project(root)
    shutil.copy(empty_database, root / "mlflow.db")
    return root


def client_of(root: Path) -> Any:
    return mlflow.MlflowClient(tracking_uri=tracking_uri(root), registry_uri=tracking_uri(root))


def runs_of(root: Path) -> dict[str, Any]:
    client = client_of(root)
    runs = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    names = [run.info.run_name for run in runs]
    assert len(names) == len(set(names)), f"double runs: {names}"
    return dict(zip(names, runs, strict=True))


def artifact_paths(client: Any, run_id: str, folder: str | None = None) -> Iterator[str]:
    for found in client.list_artifacts(run_id, folder):
        yield from artifact_paths(client, run_id, found.path) if found.is_dir else [found.path]


def history(client: Any, run: Any, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]


def check_runs(root: Path) -> None:
    client, runs = client_of(root), runs_of(root)
    assert set(runs) == set(STAGES)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    train, evaluate = runs["train"], runs["evaluate@scenes-clean"]
    assert train.data.metrics["generator_loss"] == 0.7
    assert "noise_std" not in train.data.metrics
    assert history(client, train, "generator/loss") == [(1, 0.9), (2, 0.7)]
    assert history(client, train, "surrogate/loss") == [(0, 1.5)]
    assert history(client, evaluate, "seed7/train_loss") == [(0, 0.3), (1, pytest.approx(0.2))]
    assert history(client, evaluate, "seed7/test_iou") == [(0, 0.4)]
    assert evaluate.data.metrics["iou_mean"] == 0.535
    assert evaluate.data.metrics["seed7/iou"] == pytest.approx(0.57)
    assert evaluate.data.metrics["seed0/class_iou/brick _ star"] == 0.25
    assert runs["protect@scenes"].data.metrics["verified/checked"] == 4
    assert evaluate.data.params["evaluate.seeds"] == "[0, 7]"
    assert evaluate.data.params["runs.scenes-clean.train_on"] == "data/datasets/scenes"
    lock = hashlib.sha256((root / "dvc.lock").read_bytes()).hexdigest()
    expected = {"profile": "test", "dvc_lock_sha256": lock, "stage": "train", "size": "tiny", "git_commit": "unknown"}
    assert expected.items() <= train.data.tags.items()
    paths = set(artifact_paths(client, evaluate.info.run_id))
    files = ("metrics/evaluate/scenes-clean.json", "plots/evaluate/scenes-clean.csv", "plots/evaluate/scenes-clean.png")
    assert paths == set(files)
    stored = Path(client.download_artifacts(evaluate.info.run_id, files[1]))
    assert stored.read_bytes() == (root / files[1]).read_bytes()
    assert Path(client.download_artifacts(evaluate.info.run_id, files[2])).read_bytes()[:4] == b"\x89PNG"


def test_every_result_becomes_one_run(project: Path) -> None:
    summary = track_project(project)
    assert (summary.created, summary.already, summary.pending) == (STAGES, (), ())
    assert summary.model_version == "1"
    check_runs(project)
    before = {name: run.info.run_id for name, run in runs_of(project).items()}
    again = track_project(project)
    assert (again.created, again.already, again.model_version) == ((), STAGES, "1")
    assert {name: run.info.run_id for name, run in runs_of(project).items()} == before
    assert (project / "mlartifacts").is_dir()


def test_a_new_result_becomes_a_second_run(project: Path) -> None:
    track_project(project)
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    lock["stages"]["evaluate@scenes-clean"]["params"]["params.yaml"]["evaluate"]["seeds"] = [1, 7]
    lock["stages"]["evaluate@gone"] = {"cmd": "x", "outs": [{"path": "metrics/evaluate/gone.json", "md5": "0"}]}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    summary = track_project(project)
    assert summary.created == ("evaluate@scenes-clean",)
    assert summary.already == STAGES[:3]


def cut_off(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first run, before its files are there."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tracking, "_log_files", stop)
        with pytest.raises(KeyboardInterrupt):
            track_project(project)


def test_a_cut_off_run_is_made_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off(project, monkeypatch)
    (failed,) = runs_of(project).values()
    assert failed.info.status == "FAILED"
    tags = {"stage_key": failed.data.tags["stage_key"], "stage": "train"}
    killed = client_of(project).create_run(failed.info.experiment_id, tags=tags, run_name="killed")
    assert killed.info.status == "RUNNING"
    assert track_project(project).created == STAGES
    check_runs(project)


def test_a_cut_leaves_the_run_that_a_training_has_written(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = json.loads((project / "metrics" / "train.json").read_text())["generator_sha256"]
    with open_store(project, "test") as store:
        tags = {LIVE_TAG: "work", GENERATOR_TAG: sha256}
        live = store.client.create_run(store.experiment_id, tags=tags, run_name="train")

    cut_off(project, monkeypatch)
    track_project(project)
    assert runs_of(project)["train"].info.run_id == live.info.run_id


def test_a_stage_that_has_not_run_is_pending(project: Path) -> None:
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    del lock["stages"]["train"]
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    summary = track_project(project)
    assert (summary.created, summary.pending, summary.model_version) == (STAGES[1:], ("train",), None)


def test_without_the_weights_the_metrics_are_tracked(project: Path) -> None:
    shutil.rmtree(project / "data")
    summary = track_project(project)
    assert (summary.created, summary.model_version) == (STAGES, None)


def test_git_commit_and_changes(project: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        return subprocess.run(
            ["git", *identity, *arguments], cwd=project, check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    (project / ".gitignore").write_text("mlflow.db*\nmlartifacts/\ndata/\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    track_project(project)
    tags = runs_of(project)["train"].data.tags
    assert (tags["git_commit"], tags["git_dirty"]) == (git("rev-parse", "HEAD").strip(), "false")
    assert tags["mlflow.source.git.commit"] == tags["git_commit"]
    write_results(project, {"train": {**train_files(write_generator(project, 1))}})
    track_project(project)
    newest = client_of(project).search_runs([runs_of_experiment(project)], "tags.git_dirty = 'true'")
    assert [run.info.run_name for run in newest] == ["train"]


def runs_of_experiment(root: Path) -> str:
    return str(client_of(root).get_experiment_by_name("test").experiment_id)


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("dvc.lock", None, "does not exist; run `dvc repro`"),
        ("dvc.lock", b"stages: [", "not a lock file"),
        ("dvc.lock", b"stages: {train: 3}", "not a lock file"),
        ("params.yaml", b"profile: x\ntrian: 1\n", "did you mean 'train'"),
        ("metrics/train.json", None, "does not exist"),
        ("metrics/train.json", b"{}", "not the file that dvc.lock records; run `dvc repro train`"),
    ],
)
def test_bad_files_are_named_and_nothing_is_written(
    project: Path, path: str, content: bytes | None, message: str
) -> None:
    (project / path).unlink()
    if content is not None:
        (project / path).write_bytes(content)
    with pytest.raises(UnsegError, match=message) as caught:
        track_project(project)
    assert path in str(caught.value)
    assert client_of(project).get_experiment_by_name("test") is None or not runs_of(project)


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("metrics/train.json", b"[1, 2", "not a metrics file"),
        ("metrics/train.json", b'{"seeds": [3]}', "not a metrics file"),
        ("plots/train.csv", b"phase,loss\ngenerator,1\n", "line 2"),
        ("plots/train.csv", b"epoch,phase,loss\n0,generator,1\n1,generator,high\n", "line 3"),
        ("plots/train.csv", b"epoch,loss\n0,1\n", "line 2"),
    ],
)
def test_bad_results_are_named(project: Path, path: str, content: bytes, message: str) -> None:
    write_results(project, {"train": {**train_files("0"), path: content}})
    with pytest.raises(DataError, match=message) as caught:
        track_project(project)
    assert path in str(caught.value)


def test_a_database_from_another_folder_is_refused(project: Path, tmp_path: Path) -> None:
    track_project(project)
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    with pytest.raises(UnsegError, match="came from another folder; delete it"):
        track_project(copy)


def test_a_file_that_is_no_database_is_refused(project: Path) -> None:
    (project / "mlflow.db").write_text("hello, this is text")
    with pytest.raises(UnsegError, match=r"mlflow\.db is not an sqlite database; delete it"):
        track_project(project)


def test_a_deleted_experiment_is_refused(project: Path) -> None:
    track_project(project)
    client_of(project).delete_experiment(runs_of_experiment(project))
    with pytest.raises(UnsegError, match="mlflow experiments restore --experiment-id"):
        track_project(project)


def test_an_absent_server_is_named_without_its_password(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    with pytest.raises(UnsegError, match=r"127\.0\.0\.1:9.* check that the server of MLFLOW_T") as caught:
        track_project(project)
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1:9") as also_caught:
        resolve_model_uri("models:/unseg-generator@champion")
    assert "secret" not in f"{caught.value} {also_caught.value}"


def test_register_writes_no_version_and_moves_only_the_alias(project: Path) -> None:
    first = register_stage(project)
    path, content = project / "metrics/registered.json", (project / "metrics/registered.json").read_bytes()
    assert json.loads(content) == {
        "alias": "champion",
        "generator_sha256": first.generator_sha256,
        "model": "unseg-generator",
        "uri": "models:/unseg-generator@champion",
    }
    path.unlink()
    assert register_stage(project) == first
    assert path.read_bytes() == content
    second = write_generator(project, seed=1)
    assert register_stage(project).generator_sha256 == second != first.generator_sha256
    client = client_of(project)
    assert int(client.get_model_version_by_alias("unseg-generator", "champion").version) == 2
    write_generator(project, seed=0)
    assert track_project(project).model_version == "1"
    assert int(client.get_model_version_by_alias("unseg-generator", "champion").version) == 1
    assert len(client.search_model_versions("name = 'unseg-generator'")) == 2


def test_training_run_and_registered_model_know_each_other(project: Path) -> None:
    register_stage(project)  # `dvc repro` registers before anything is tracked
    track_project(project)
    client, train = client_of(project), runs_of(project)["train"]
    version = client.get_model_version("unseg-generator", "1")
    assert train.data.tags["generator_sha256"] == version.tags["generator_sha256"]
    (output,) = client.get_run(train.info.run_id).outputs.model_outputs
    assert version.source == f"models:/{output.model_id}"


def test_a_cut_off_upload_leaves_no_second_model(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    importlib.import_module("mlflow.pyfunc")  # until then its name stands for one that is loaded later
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.pyfunc, "save_model", stop)
        with pytest.raises(KeyboardInterrupt):
            register_stage(project)
    register_stage(project)
    models = client_of(project).search_logged_models([runs_of_experiment(project)])
    assert [str(model.status) for model in models] == ["READY"]


@pytest.mark.parametrize("damage", ["missing", "weights", "card", "card-file"])
def test_a_damaged_generator_is_not_registered(project: Path, damage: str) -> None:
    weights, card = project / "data/generator/generator.safetensors", project / "data/generator/card.json"
    if damage == "missing":
        weights.unlink()
    elif damage == "weights":
        weights.write_bytes(weights.read_bytes() + b"\0")
    elif damage == "card":
        card.write_text("{}")
    else:
        card.unlink()
    with pytest.raises(UnsegError, match=r"data/generator/(generator\.safetensors|card\.json)"):
        register_stage(project)
    assert not (project / "metrics/registered.json").exists()


def picture_and_region() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    region = np.zeros((40, 56), dtype=np.bool_)
    region[8:30, 10:44] = True
    return random.integers(0, 256, (40, 56, 3), dtype=np.uint8), region


def file_noise(root: Path, prompt: str) -> np.ndarray:
    file = load_generator(root / "data/generator/generator.safetensors")
    image, region = picture_and_region()
    return image_noise(file, image, region, prompt=prompt, seed=5)


@pytest.fixture
def registered(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    register_stage(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(project))
    monkeypatch.setattr(sys, "path", sys.path)  # loading a model puts its code first
    return project


def test_the_registered_generator_gives_the_same_noise(registered: Path) -> None:
    model = mlflow.pyfunc.load_model("models:/unseg-generator@champion")
    image, region = picture_and_region()
    for prompt in ("mask", "box", "point", "whole"):
        noise = model.predict({"image": image, "region": region}, params={"prompt": prompt, "seed": 5})
        assert noise.dtype == np.float32
        assert noise.shape == (3, 40, 56)
        assert noise.tobytes() == file_noise(registered, prompt).tobytes()
        assert np.abs(noise).max() > 0


def test_the_registered_generator_refuses_bad_input(registered: Path) -> None:
    model = mlflow.pyfunc.load_model("models:/unseg-generator@champion")
    image, region = picture_and_region()
    with pytest.raises(mlflow.MlflowException):
        model.predict({"image": image.astype(np.float64) / 255, "region": region})
    with pytest.raises(mlflow.MlflowException):
        model.predict({"image": image})
    with pytest.raises(DataError, match="same height and width"):
        model.predict({"image": image, "region": region[:20]})
    with pytest.raises(DataError, match="no box prompt"):
        model.predict({"image": image, "region": np.zeros_like(region)}, params={"prompt": "box"})
    with pytest.raises(ParameterError, match="prompt is 'text'"):
        model.predict({"image": image, "region": region}, params={"prompt": "text"})


@pytest.mark.parametrize("uri", ["models:/unseg-generator@champion", "models:/unseg-generator/1"])
def test_a_model_uri_becomes_the_registered_file(registered: Path, tmp_path: Path, uri: str) -> None:
    path = resolve_model_uri(uri, cache=tmp_path / "cache")
    content = (registered / "data/generator/generator.safetensors").read_bytes()
    assert path.read_bytes() == content
    assert path.is_relative_to(tmp_path / "cache")
    shutil.rmtree(registered / "mlartifacts")
    assert resolve_model_uri(uri, cache=tmp_path / "cache") == path, "the fetched file is used again"
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=uri):
        resolve_model_uri(uri, cache=tmp_path / "cache")


def test_a_data_set_is_protected_with_a_registered_generator(
    registered: Path, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # where fetched generators are kept
    source = write_pairs(tmp_path / "photos", 2, rng)
    copies = []
    of_run = registered / "data" / "generator" / "generator.safetensors"
    for name, generator in (("uri", "models:/unseg-generator@champion"), ("file", str(of_run))):
        done = CliRunner().invoke(app, ["protect", str(source), str(tmp_path / name), "--generator", generator])
        assert done.exit_code == 0, done.output
        copies.append((tmp_path / name / "images" / "photo 00.png").read_bytes())
    assert copies[0] == copies[1]
    assert copies[0] != (source / "images" / "photo 00.png").read_bytes()


def test_bad_model_uris_are_explained(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in ("models:/unseg-generator", "models:/a/b", "models:/@champion"):
        with pytest.raises(ParameterError, match="write models:/NAME@ALIAS or models:/NAME/VERSION"):
            resolve_model_uri(uri)
    for uri in ("models:/unseg-generator@nobody", "models:/unseg-generator/99", "models:/other@champion"):
        with pytest.raises(WeightsError, match=uri):
            resolve_model_uri(uri)
    client = client_of(registered)
    client.delete_model_version_tag("unseg-generator", "1", "generator_sha256")
    with pytest.raises(WeightsError, match="not a generator of this project"):
        resolve_model_uri("models:/unseg-generator/1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/nowhere.db")
    with pytest.raises(ParameterError, match="does not exist; set MLFLOW_TRACKING_URI"):
        resolve_model_uri("models:/unseg-generator@champion")
    assert not (tmp_path / "nowhere.db").exists()


def start_program(module: str, root: Path) -> subprocess.Popen[str]:
    """A stage program as DVC starts it: `python -m MODULE` in the project folder."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module]
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_three_processes_on_a_cold_database(tmp_path: Path) -> None:
    write_project(tmp_path)
    for count in (3, 1):  # the second time because the database is gone
        programs = [start_program("tasks.tracking", tmp_path) for _ in range(count)]
        results = [(*program.communicate(timeout=240), program.returncode) for program in programs]
        assert [(code, error) for _, error, code in results] == [(0, "")] * count
        assert sum(output.count(": created\n") for output, _, _ in results) == len(STAGES)
        assert sum(output.count(": there already\n") for output, _, _ in results) == (count - 1) * len(STAGES)
        assert all("generator: version 1\n" in output for output, _, _ in results)
        if count > 1:
            (tmp_path / "mlflow.db").unlink()
    check_runs(tmp_path)


def test_the_programs_say_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    for module, missing in (("tasks.tracking", "dvc.lock"), ("tasks.register", "generator.safetensors")):
        output, error = (program := start_program(module, tmp_path)).communicate(timeout=120)
        assert (program.returncode, output) == (2, "")
        assert error.startswith("error: ")
        assert missing in error
        assert error.count("\n") == 1


@pytest.mark.slow
def test_results_of_a_real_dvc_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reproduce() -> str:
        command = [sys.executable, "-m", "dvc", "repro"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    for name, value in (("PYTHONPATH", str(REPOSITORY)), ("DVC_NO_ANALYTICS", "1"), ("DO_NOT_TRACK", "1")):
        monkeypatch.setenv(name, value)
    write_project(tmp_path)
    for folder in ("data", "metrics", "plots"):
        (tmp_path / folder).rename(tmp_path / f"made-{folder}")
    (tmp_path / "dvc.lock").unlink()
    train = {
        "cmd": [
            "cp -r made-data data",
            "mkdir metrics plots",
            "cp made-metrics/train.json metrics",
            "cp made-plots/train.csv plots",
        ],
        "params": ["train"],
        "outs": ["data/generator"],
        "metrics": [{"metrics/train.json": {"cache": False}}],
        "plots": [{"plots/train.csv": {"cache": False}}],
    }
    register = {
        "cmd": f"{sys.executable} -m tasks.register",
        "deps": ["data/generator"],
        "outs": [{"metrics/registered.json": {"cache": False}}],
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": train, "register": register}}))
    Repo.init(str(tmp_path), no_scm=True).close()
    reproduce()
    first = track_project(tmp_path)
    assert (first.created, first.pending, first.model_version) == (("train",), STAGES[1:], "1")
    assert "Stage 'train' didn't change, skipping" in reproduce()
    assert track_project(tmp_path).already == ("train",)
    assert runs_of(tmp_path)["train"].data.params["train.epochs"] == "3"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server with its own database and artifact store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder, uri = tmp_path / "server", f"http://127.0.0.1:{port}"
    folder.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        wait_for(f"{uri}/health", process, folder / "log")
        yield uri
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"no MLflow server: {log.read_text()[-2000:]}")


FOREIGN_PROGRAM = """
import sys, mlflow, numpy
model = mlflow.pyfunc.load_model(sys.argv[1])
given = numpy.load("given.npz")
noise = model.predict({"image": given["image"], "region": given["region"]}, params={"prompt": "point", "seed": 5})
noise.tofile("noise")
"""


def noise_elsewhere(uri: str, folder: Path) -> bytes:
    """Noise in a process that knows only MLflow and the URI; the project's code comes with the model."""
    image, region = picture_and_region()
    np.savez(folder / "given.npz", image=image, region=region)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-P", "-c", FOREIGN_PROGRAM, uri]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return (folder / "noise").read_bytes()


@pytest.mark.slow
def test_a_real_server(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    root = tmp_path / "project"
    root.mkdir()
    write_project(root)
    registered = register_stage(root)
    summary = track_project(root)
    assert (summary.created, summary.model_version, summary.tracking_uri) == (STAGES, "1", server)
    assert track_project(root).already == STAGES
    check_runs(root)
    assert noise_elsewhere(registered.uri, tmp_path) == file_noise(root, "point").tobytes()
    path = resolve_model_uri(registered.uri, cache=tmp_path / "cache")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == registered.generator_sha256
    assert not (root / "mlflow.db").exists()
    assert not (root / "mlartifacts").exists()
