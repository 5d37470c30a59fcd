"""Training in several processes that `torchrun` starts: same losses, one result, restarts; and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT, write_pairs

from unseg_core.model.weights import load_generator, read_metadata

SETTINGS = ("train.epochs=4", "train.surrogate_every=2", "train.batch_size=3", "train.points=64", "runtime.device=cpu")
STEPS = """
import json, sys
from unseg_core.train.loop import Silent
from unseg_core.train.run import TrainJob
import unseg_core.train.run as run, unseg_core.cli as cli
class Written(Silent):
    def step(self, report):
        with open(sys.argv[1], "a") as file:
            file.write(json.dumps([report.step, report.loss, report.gradient_norm]) + "\\n")
original = run.run_training
run.run_training = lambda job, observer=None, stop=None: original(job, Written(), stop)
if __name__ == "__main__":
    cli.app(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and the start of both players."""
    root = tmp_path_factory.mktemp("training")
    write_pairs(root / "data", 7, np.random.default_rng(0), side=64)
    done = _unseg("weights", str(root / "start"), "--size", "tiny", "--json")
    assert set(json.loads(done.stdout)) == {"generator", "surrogate"}
    (root / "steps.py").write_text(STEPS)
    return root


def _unseg(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "unseg_core.cli", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=check)


def _train_arguments(root: Path, out: Path, *settings: str) -> list[str]:
    options = [text for setting in (*SETTINGS, *settings) for text in ("--set", setting)]
    where = [str(root / "data"), "--weights", str(root / "start"), "--out", str(out)]
    return ["train", *where, "--validation", str(root / "data"), *options, "--json"]


def _command(root: Path, out: Path, processes: int, *settings: str) -> list[str]:
    """Training with a file of step reports, in one or several processes."""
    script = [str(root / "steps.py"), f"{out}-steps.jsonl", *_train_arguments(root, out, *settings)]
    if processes == 1:
        return [sys.executable, *script]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--max-restarts=2"]
    return [sys.executable, *launcher, *script]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}


def _steps(out: Path) -> dict[int, list[float]]:
    lines = Path(f"{out}-steps.jsonl").read_text().splitlines()
    return {step: values for step, *values in map(json.loads, lines)}


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(prepared: Path, tmp_path: Path) -> None:
    for processes in (1, 2):
        command = _command(prepared, tmp_path / str(processes), processes, "runtime.threads=1")
        subprocess.run(command, env=_environment(), check=True, capture_output=True, timeout=600)
    one, two = _steps(tmp_path / "1"), _steps(tmp_path / "2")
    assert sorted(one) == sorted(two) == list(range(12))
    for step, values in one.items():
        assert two[step] == pytest.approx(values, rel=2e-3)
    cards = [json.loads((tmp_path / name / "card.json").read_text()) for name in ("1", "2")]
    scores = [next(iter(card["metrics"]["validation"].values())) for card in cards]
    assert scores[0]["images"] == scores[1]["images"] == 7
    assert scores[0]["iou_noised"] == pytest.approx(scores[1]["iou_noised"], abs=0.02)


@pytest.mark.slow
def test_a_lost_process_costs_only_the_time_since_the_last_checkpoint(prepared: Path, tmp_path: Path) -> None:
    expected = _steps_of_whole(prepared, tmp_path / "whole")
    command = _command(prepared, tmp_path / "cut", 2, "runtime.threads=1", "train.checkpoint_minutes=0")
    running = subprocess.Popen(command, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait_for_step(tmp_path / "cut", 4)
    victim = _workers(running.pid)[-1]
    os.kill(victim, signal.SIGKILL)
    assert running.wait(timeout=600) == 0
    assert victim not in _workers(running.pid)
    steps = _steps(tmp_path / "cut")
    assert {step: pytest.approx(values, rel=1e-6) for step, values in expected.items()} == steps


def _steps_of_whole(root: Path, out: Path) -> dict[int, list[float]]:
    subprocess.run(
        _command(root, out, 2, "runtime.threads=1"), env=_environment(), check=True, capture_output=True, timeout=600
    )
    return _steps(out)


def _wait_for_step(out: Path, step: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if Path(f"{out}-steps.jsonl").exists() and max(_steps(out), default=0) >= step:
            return
        time.sleep(0.05)
    raise AssertionError(f"step {step} was not reached")


def _workers(launcher: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(launcher).children() if "steps.py" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


@pytest.mark.slow
@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_the_same_command_goes_on_to_the_same_bytes(prepared: Path, tmp_path: Path, ended_by: signal.Signals) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(_command(prepared, whole, 1), env=_environment(), check=True, capture_output=True, timeout=300)
    command = _command(prepared, cut, 1, "runtime.workers=1", "train.checkpoint_minutes=0")
    running = subprocess.Popen(command, env=_environment(), stderr=subprocess.PIPE, text=True, start_new_session=True)
    _wait_for_step(cut, 4)
    os.killpg(running.pid, ended_by)  # its loader's workers too, as a terminal or a batch system does
    said = running.communicate(timeout=120)[1]
    if ended_by != signal.SIGKILL:
        assert "the same command continues" in said
        assert running.returncode == 130
    assert list((cut / ".work").glob("checkpoint-*.pt"))
    assert not (cut / "generator.safetensors").exists()
    subprocess.run(_command(prepared, cut, 1), env=_environment(), check=True, capture_output=True, timeout=300)
    assert (cut / "generator.safetensors").read_bytes() == (whole / "generator.safetensors").read_bytes()
    assert _steps(cut) == _steps(whole)


def test_generator_comes_with_its_card(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = _unseg(*_train_arguments(prepared, out, "train.epochs=2"))
    metrics = json.loads(done.stdout)
    card = (out / "README.md").read_text()
    assert metrics["generator_sha256"] in card
    assert "| 7 |" in card
    assert (out / "panel.png").read_bytes().startswith(b"\x89PNG")
    assert load_generator(out / "generator.safetensors").size.name == "tiny"
    assert read_metadata(out / "generator.safetensors")["epsilon"] == "1.0"


def test_plan_measures_and_writes_nothing(prepared: Path, tmp_path: Path) -> None:
    done = _unseg(*_train_arguments(prepared, tmp_path / "out"), "--plan")
    plan = json.loads(done.stdout)
    assert (plan["images"], plan["surrogate_steps"], plan["generator_steps"], plan["part"]) == (7, 6, 6, 3)
    seconds = 6 * (plan["surrogate_step_seconds"] + plan["generator_step_seconds"])
    assert plan["hours"] == pytest.approx(seconds / 3600)
    assert plan["memory_mb"] > 100
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.epochs=0", "train.epochs is 0"),
        ("train.epocks=3", "did you mean 'epochs'"),
        ("epochs=3", "write train.NAME=VALUE"),
    ],
)
def test_bad_settings_are_refused(prepared: Path, tmp_path: Path, setting: str, message: str) -> None:
    done = _unseg(*_train_arguments(prepared, tmp_path / "out", setting), check=False)
    assert done.returncode == 2
    assert message in done.stderr
