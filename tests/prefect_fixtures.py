"""Throw-away DVC projects, a real Prefect server and a real process worker for the tests of flows.

tests/conftest.py imports the fixture `prefect_server` from here.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

CODE = Path(__file__).resolve().parent.parent

# What a stage of the throw-away projects does: it notes when it began and ended, waits, and writes its files.
WORK = """\
import json, os, sys, time
name, seconds, *outputs = sys.argv[1:]
def note(event):
    with open("events.jsonl", "a") as events:
        events.write(json.dumps({"stage": name, "event": event, "time": time.time(), "pid": os.getpid()}) + "\\n")
note("begin")
print(f"{name} works", flush=True)
if seconds == "fail":
    sys.exit(f"{name} breaks")
time.sleep(float(seconds))
for output in outputs:
    with open(output, "w") as file:
        json.dump({"name": name, "score": {"mean": 0.5, "all": [1, 2]}}, file)
note("end")
"""

# Where a stage ends long before one that stands above it, and `each` is a group of stages.
DIAMOND = """\
stages:
  top:
    cmd: python work.py top 0 top.json
    deps: [seed.txt]
    outs: [top.json]
  each:
    foreach:
      slow: {seconds: 1.5}
      quick: {seconds: 0}
    do:
      cmd: python work.py ${key} ${item.seconds} ${key}.json
      deps: [top.json]
      outs: [{"${key}.json": {cache: true}}]
  bottom:
    cmd: python work.py bottom 0 bottom.json bottom-plot.json
    deps: [slow.json, quick.json]
    metrics: [{bottom.json: {cache: false}}]
    plots: [{bottom-plot.json: {cache: false}}]
    meta: {pool: gpu}
"""

_TRACKING = """\
from pathlib import Path
def track_project(root: Path) -> str:
    if (root / "tracking-breaks").exists():
        raise OSError("the tracking server is gone")
    (root / "tracked").write_text("yes")
    return "tracked"
"""

_QUIET = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "NO_COLOR": "1",
    "PREFECT_LOGGING_COLORS": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def make_dvc_project(root: Path, dvc_yaml: str, code: bool = False) -> Path:
    """Make a DVC project in `root`; with `code`, its own copy of the flows and a stand-in for the tracking."""
    root.mkdir(parents=True)
    (root / "dvc.yaml").write_text(dvc_yaml)
    (root / "work.py").write_text(WORK)
    (root / "seed.txt").write_text("1")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    dvc(root, "init", "-q")
    if code:
        for folder in ("flows", "tasks", "unseg_core"):
            shutil.copytree(CODE / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(CODE / "prefect.yaml", root)
        (root / "tasks" / "tracking.py").write_text(_TRACKING)
    return root


def dvc(root: Path, *arguments: str) -> str:
    """Run DVC in `root`; return what it prints."""
    return run([sys.executable, "-m", "dvc", *arguments], root, **_QUIET)


def run(command: list[str], root: Path, **variables: str) -> str:
    """Run a command that must succeed; return what it prints."""
    done = subprocess.run(
        command, cwd=root, env=environment(**variables), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment with the variables and this Python's programs first on PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, **variables}


def events(root: Path) -> list[dict[str, Any]]:
    """Return what the stages of a project noted, in time's order."""
    path = root / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Return the condition's first true value; fail when there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    pytest.fail(f"{what}: not within {seconds} s")


def processes_below(root: Path) -> list[psutil.Process]:
    """Return the living processes, other than this one, whose current directory is in `root`."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _is_below(process, root)]


def _is_below(process: psutil.Process, root: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(root)
    except (psutil.Error, OSError):
        return False


@dataclass(frozen=True, kw_only=True)
class PrefectServer:
    """A running Prefect server."""

    url: str
    environment: dict[str, str]
    """For its clients."""


@contextmanager
def background(
    command: list[str], root: Path, log: Path, variables: dict[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command beside the test; it ends with the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=root, env=environment(**variables), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def prefect_variables(home: Path) -> dict[str, str]:
    """Return the variables for a Prefect that keeps all it has in `home`."""
    return {**_QUIET, "PREFECT_HOME": str(home), "PREFECT_WORKER_QUERY_SECONDS": "1"}


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A real Prefect server with its own sqlite database, on a free port of this machine; one per session."""
    home = tmp_path_factory.mktemp("prefect-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    variables = {**prefect_variables(home), "PREFECT_API_URL": url}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with background(command, home, home / "server.log", variables):
        wait_for(lambda: _is_healthy(url), "the Prefect server answers", 120)
        yield PrefectServer(url=url, environment=variables)


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
