"""The flows on a real Prefect: embedded, with a server, and through deployments and a process worker."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_pairs
from prefect_fixtures import (
    DIAMOND,
    PrefectServer,
    background,
    dvc,
    environment,
    events,
    make_dvc_project,
    prefect_variables,
    processes_below,
    run,
    wait_for,
)

from unseg_core.errors import DataError, ParameterError

pytestmark = pytest.mark.slow

BREAKING = """\
stages:
  bad:
    cmd: python work.py bad fail
    outs: [bad.json]
  after:
    cmd: python work.py after 0 after.json
    deps: [bad.json]
    outs: [after.json]
  last:
    cmd: python work.py last 0 last.json
    deps: [after.json]
    outs: [last.json]
  other:
    cmd: python work.py other 0 other.json
    metrics: [{other.json: {cache: false}}]
"""
ENDLESS = """\
stages:
  endless:
    cmd: python work.py endless 600 endless.json
    deps: [seed.txt]
    outs: [endless.json]
"""
# Stands in for unseg_core/cli/__main__.py: says what it was asked, as the real one would.
CLI = """\
import json, sys, time
*options, source, target = sys.argv[1:]
print(f"reading {source}", file=sys.stderr, flush=True)
if source == "endless":
    time.sleep(600)
print(json.dumps({"images": 3, "options": options, "target": target}))
"""


def reproduce(root: Path, *arguments: str, variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run `python -m flows.reproduce` in a project."""
    return subprocess.run(
        [sys.executable, "-m", "flows.reproduce", *arguments],
        cwd=root,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture
def embedded(tmp_path: Path) -> dict[str, str]:
    """Variables for a Prefect without a server."""
    return prefect_variables(tmp_path / "prefect")


@pytest.fixture(scope="module")
def worker(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Worker"]:
    """A worker of pool `cpu`, started in a project with the project's own prefect.yaml deployed."""
    root = make_dvc_project(tmp_path_factory.mktemp("worker") / "project", DIAMOND, code=True)
    (root / "unseg_core" / "cli" / "__main__.py").write_text(CLI)
    variables = prefect_server.environment
    prefect = [sys.executable, "-m", "prefect"]
    for pool in ("cpu", "gpu"):
        run([*prefect, "work-pool", "create", pool, "--type", "process"], root, **variables)
    run([*prefect, "--no-prompt", "deploy", "--all"], root, **variables)
    command = [*prefect, "worker", "start", "--pool", "cpu"]
    with background(command, root, root.parent / "worker.log", variables):
        yield Worker(prefect_server.url, root)


class Worker:
    """The deployed project and a client of its server."""

    def __init__(self, url: str, root: Path) -> None:
        from prefect.client.orchestration import SyncPrefectClient

        self.root = root
        self.client = SyncPrefectClient(url)

    def renew(self, dvc_yaml: str) -> None:
        """Give the project other stages, none of which has run."""
        (self.root / "dvc.yaml").write_text(dvc_yaml)
        for name in ("dvc.lock", "events.jsonl"):
            (self.root / name).unlink(missing_ok=True)

    def start(self, deployment: str, **parameters: Any) -> Any:
        """Trigger a deployment; return the id of the flow run."""
        found = self.client.read_deployment_by_name(deployment)
        return self.client.create_flow_run_from_deployment(found.id, parameters=parameters).id

    def state(self, flow_run_id: Any) -> Any:
        return self.client.read_flow_run(flow_run_id).state

    def final_state(self, flow_run_id: Any) -> Any:
        return wait_for(lambda: (state := self.state(flow_run_id)).is_final() and state, "the flow run ends", 120)

    def table(self, flow_run_id: Any) -> list[dict[str, Any]]:
        """Return the table artifact of a flow run."""
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

        flow_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        [artifact] = self.client.read_artifacts(artifact_filter=flow_run)
        return json.loads(str(artifact.data))

    def cancel(self, flow_run_id: Any) -> None:
        from prefect.states import Cancelling

        self.client.set_flow_run_state(flow_run_id, Cancelling())


def test_flow_alone_and_dvc_alone_give_the_same_lock(tmp_path: Path, embedded: dict[str, str]) -> None:
    by_dvc = make_dvc_project(tmp_path / "by-dvc", DIAMOND, code=True)
    dvc(by_dvc, "repro", "top")  # for the run-cache
    for name in ("dvc.lock", "top.json", "events.jsonl"):
        (by_dvc / name).unlink()
    by_flow = tmp_path / "by-flow"
    shutil.copytree(by_dvc, by_flow)
    assert "Stage 'top' is cached" in dvc(by_dvc, "repro")

    done = reproduce(by_flow, variables=embedded)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert all(
        f"stage {name}: {result}" in said
        for name, result in {"top": "cached", "each@slow": "ran", "each@quick": "ran", "bottom": "ran"}.items()
    )
    assert "Task run 'each@slow' - slow works" in said
    assert (by_flow / "dvc.lock").read_bytes() == (by_dvc / "dvc.lock").read_bytes()
    assert (by_flow / "tracked").exists()
    span = {(event["stage"], event["event"]): event["time"] for event in events(by_flow)}
    assert span["quick", "begin"] < span["slow", "end"], "independent stages must run side by side"
    assert max(span["quick", "end"], span["slow", "end"]) < span["bottom", "begin"]
    wait_for(lambda: not processes_below(tmp_path), "the embedded server ends", 20)


@pytest.mark.parametrize("how", ["killed", "interrupted"])
def test_ended_flow_leaves_no_process_and_can_be_continued(tmp_path: Path, embedded: dict[str, str], how: str) -> None:
    root = make_dvc_project(tmp_path / "project", ENDLESS, code=True)
    with (tmp_path / "flow.log").open("wb") as log:
        flow = subprocess.Popen(
            [sys.executable, "-m", "flows.reproduce"],
            cwd=root,
            env=environment(**embedded),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    wait_for(lambda: any(event["stage"] == "endless" for event in events(root)), "the stage begins", 120)
    if how == "killed":
        flow.kill()
    else:
        os.killpg(flow.pid, signal.SIGINT)  # what a terminal does at Ctrl-C
    code = flow.wait(timeout=300)
    assert code == (-signal.SIGKILL if how == "killed" else 130), (tmp_path / "flow.log").read_text()
    wait_for(lambda: not processes_below(tmp_path), "every process ends", 120)
    (root / "dvc.yaml").write_text(ENDLESS.replace("600", "0"))
    assert "Running stage 'endless'" in dvc(root, "repro")


def test_failed_stage_stops_its_dependants_only(tmp_path: Path, prefect_server: PrefectServer) -> None:
    root = make_dvc_project(tmp_path / "project", BREAKING, code=True)
    done = reproduce(root, variables=prefect_server.environment)
    assert done.returncode == 1, done.stdout + done.stderr
    error = done.stderr[done.stderr.rindex("error: ") :]
    assert "stage 'bad' failed" in error
    assert "bad breaks" in error
    assert "not run because of that: after, last" in error
    assert {event["stage"] for event in events(root)} == {"bad", "other"}
    assert (root / "tracked").exists(), "what the other stages made is tracked"
    assert "1 failed, 2 not run, 1 ran" in done.stderr + done.stdout

    (root / "tracking-breaks").touch()
    (root / "dvc.yaml").write_text(BREAKING.replace("bad fail", "bad 0 bad.json"))
    done = reproduce(root, "other", variables=prefect_server.environment)
    assert done.returncode == 1
    assert "the tracking server is gone" in done.stderr[done.stderr.rindex("error: ") :]
    assert "stage other: unchanged" in done.stderr + done.stdout


def test_stage_that_waits_for_another_dvc_is_tried_again(tmp_path: Path, prefect_server: PrefectServer) -> None:
    root = make_dvc_project(tmp_path / "project", ENDLESS.replace("600", "0"), code=True)
    held = {"pid": os.getpid(), "cmd": "dvc repro"}
    lock = root / ".dvc" / "tmp" / "rwlock"
    lock.write_text(json.dumps({"read": {}, "write": {str(root / "endless.json"): held}}))
    command = [sys.executable, "-m", "flows.reproduce"]
    log = tmp_path / "flow.log"
    with background(command, root, log, prefect_server.environment) as flow:
        wait_for(lambda: "Retry 1/3" in log.read_text() or flow.poll() is not None, "the stage is blocked", 300)
        assert "is busy" in log.read_text()
        lock.write_text("{}")
        assert flow.wait(timeout=300) == 0, log.read_text()
    assert "stage endless: ran" in log.read_text()


def test_wrong_use_is_told_in_one_line_before_anything_starts(tmp_path: Path, embedded: dict[str, str]) -> None:
    root = make_dvc_project(tmp_path / "project", ENDLESS, code=True)
    done = reproduce(root, "lost", variables=embedded)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: dvc.yaml has no stage 'lost'; it has endless"]
    assert done.stdout == ""
    assert reproduce(root, "--pool-limit", "gpu=0", variables=embedded).returncode == 2


def test_worker_runs_the_deployed_reproduction(worker: Worker) -> None:
    worker.renew(DIAMOND.replace("top 0", "top 0.0"))  # a command that the run-cache does not know
    flow_run_id = worker.start("reproduce/reproduce-cpu")
    state = worker.final_state(flow_run_id)
    assert state.is_completed(), state
    rows = worker.table(flow_run_id)
    assert [(row["stage"], row["result"]) for row in rows if not row["metric"]] == [
        ("top", "ran"),
        ("each@slow", "ran"),
        ("each@quick", "ran"),
    ]
    assert {row["metric"]: row["value"] for row in rows if row["stage"] == "bottom"} == {
        "name": "bottom",
        "score.mean": 0.5,
        "score.all.0": 1,
        "score.all.1": 2,
    }
    assert "up to date" in dvc(worker.root, "status")


def test_cancelled_run_of_the_worker_leaves_no_process(worker: Worker) -> None:
    worker.renew(ENDLESS)
    before = {process.pid for process in processes_below(worker.root)}  # the worker
    flow_run_id = worker.start("reproduce/reproduce-cpu")
    wait_for(lambda: any(event["stage"] == "endless" for event in events(worker.root)), "the stage begins", 90)
    worker.cancel(flow_run_id)
    state = worker.final_state(flow_run_id)
    assert state.is_cancelled(), state
    wait_for(
        lambda: {process.pid for process in processes_below(worker.root)} <= before, "every process of the run ends", 40
    )
    (worker.root / "dvc.yaml").write_text(ENDLESS.replace("600", "0"))
    assert "Running stage 'endless'" in dvc(worker.root, "repro")


def test_worker_protects_a_data_set(worker: Worker) -> None:
    good = worker.start("protect/protect-cpu", source="data/x", target="out", layout="folder", masks="m", epsilon=4)
    state = worker.final_state(good)
    assert state.is_completed(), state
    table = {row["name"]: row["value"] for row in worker.table(good)}
    options = [table[f"options.{n}"] for n in range(sum(name.startswith("options.") for name in table))]
    assert options == [
        "protect",
        *("--layout", "folder", "--method", "unseg"),
        *("--generator", "data/generator/generator.safetensors"),
        *("--epsilon", "4.0", "--epsilon-bg", "2.0", "--masks", "m", "--json", "--"),
    ]
    assert table["target"] == "out"


def test_cancelled_protection_leaves_no_process(worker: Worker) -> None:
    before = {process.pid for process in processes_below(worker.root)}
    flow_run_id = worker.start("protect/protect-cpu", source="endless", target="out")
    wait_for(
        lambda: any("unseg_core.cli" in " ".join(process.cmdline()) for process in processes_below(worker.root)),
        "the program begins",
        300,
    )
    time.sleep(1)
    worker.cancel(flow_run_id)
    assert worker.final_state(flow_run_id).is_cancelled()
    wait_for(
        lambda: {process.pid for process in processes_below(worker.root)} <= before, "every process of the run ends", 40
    )


def test_protection_with_the_program_itself(
    tmp_path: Path, rng: np.random.Generator, prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.logging.handlers import APILogHandler
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.protect import protect

    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "source", 2, rng)
    options: dict[str, Any] = {
        "layout": "folder", "method": "uniform", "masks": "source/masks", "classes": "disc", "targets": "disc",
        "prompt": "whole", "image_format": "png", "no_target": "copy", "seed": 1, "device": "cpu",
    }  # fmt: skip
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        with pytest.raises(ParameterError, match=r"exit code 2: .*epsilon.* 999"):
            protect(source="source", target="wrong", epsilon=999, **options)
        (tmp_path / "source" / "images" / "photo 00.png").write_text("no image")
        with pytest.raises(DataError, match=r'.*"epsilon": 6.0, .*"failed": 1, "images": 2'):
            protect(source="source", target="broken", epsilon=6, **options)
        APILogHandler().flush()  # while the server is there
