"""Training in several processes that `torchrun` starts: same losses, one result, restarts; and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from conftest import PROJECT, write_pairs
from typer.testing import CliRunner

from unseg_core.cli import app
from unseg_core.model.weights import load_generator, read_metadata
from unseg_core.train.launch import FRESH_STORE

SETTINGS = (
    "train.epochs=4", "train.surrogate_every=2", "train.batch_size=3", "train.points=64", "runtime.device=cpu",
    "runtime.threads=1",
)  # fmt: skip
STEPS = 12
"""Of four epochs with seven images."""
PROGRAM = """
# Training that writes down its steps, and that a signal ends at a chosen step of a chosen process: RANK:STEP:SIGNAL.
import json, os, sys
import unseg_core.train.run as run, unseg_core.cli as cli
from unseg_core.train.loop import Silent

class Written(Silent):
    def step(self, report):
        with open(sys.argv[1], "a") as file:
            file.write(json.dumps([report.step, report.loss, report.gradient_norm]) + "\\n")

class Ending:
    def __init__(self, stop, rank, step, number):
        self.stop, self.left, self.number = stop, step, number
        self.here = os.environ.get("RANK", "0") == rank and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"

    def __call__(self):
        # Asked in every step, before it is reported.
        self.left -= 1
        if self.here and self.left == -1:
            open(sys.argv[1] + ".ended", "w").close()
            # Alone: the whole group, its loader's workers too, as a terminal or a batch system does.
            os.kill(os.getpid(), self.number) if "RANK" in os.environ else os.killpg(0, self.number)
        return self.stop()

def watched(job, observer=None, stop=None):
    if sys.argv[2]:
        rank, step, number = sys.argv[2].split(":")
        stop = Ending(stop, rank, int(step), int(number))
    return original(job, Written(), stop)

original, run.run_training = run.run_training, watched
if __name__ == "__main__":
    cli.app(sys.argv[3:])
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and the start of both players."""
    root = tmp_path_factory.mktemp("training")
    write_pairs(root / "data", 7, np.random.default_rng(0), side=64)
    done = _unseg("weights", str(root / "start"), "--size", "tiny", "--json")
    assert set(json.loads(done.stdout)) == {"generator", "surrogate"}
    (root / "steps.py").write_text(PROGRAM)
    return root


@pytest.fixture(scope="module")
def alone(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run in one process."""
    return _whole(prepared, tmp_path_factory.mktemp("alone") / "out", 1)


@pytest.fixture(scope="module")
def together(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run in two processes."""
    return _whole(prepared, tmp_path_factory.mktemp("together") / "out", 2)


def _whole(root: Path, out: Path, processes: int) -> Path:
    done = _run(root, out, processes)
    assert done.returncode == 0, done.stderr
    return out


def _unseg(*arguments: str) -> Result:
    """The command line, in this process; what it does to signals is undone."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    try:
        return CliRunner().invoke(app, list(arguments))
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _train_arguments(root: Path, out: Path, *settings: str) -> list[str]:
    options = [text for setting in (*SETTINGS, *settings) for text in ("--set", setting)]
    where = [str(root / "data"), "--weights", str(root / "start"), "--out", str(out)]
    return ["train", *where, "--validation", str(root / "data"), *options, "--json"]


def _run(root: Path, out: Path, processes: int, *settings: str, end: str = "") -> subprocess.CompletedProcess[str]:
    """Training with a file of step reports, in one or several processes, to its end or to where `end` says."""
    script = [str(root / "steps.py"), f"{out}-steps.jsonl", end, *_train_arguments(root, out, *settings)]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--max-restarts=2"]
    return subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), *script],
        env={**os.environ, **FRESH_STORE, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=600, start_new_session=True, check=False,
    )  # fmt: skip


def _lines(out: Path) -> list[tuple[int, list[float]]]:
    lines = Path(f"{out}-steps.jsonl").read_text().splitlines()
    return [(step, values) for step, *values in map(json.loads, lines)]


def _steps(out: Path) -> dict[int, list[float]]:
    return dict(_lines(out))


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(alone: Path, together: Path) -> None:
    one, two = _steps(alone), _steps(together)
    assert sorted(one) == sorted(two) == list(range(STEPS))
    for step, values in one.items():
        assert two[step] == pytest.approx(values, rel=2e-3)
    cards = [json.loads((out / "card.json").read_text()) for out in (alone, together)]
    scores = [next(iter(card["metrics"]["validation"].values())) for card in cards]
    assert scores[0]["images"] == scores[1]["images"] == 7
    assert scores[0]["iou_noised"] == pytest.approx(scores[1]["iou_noised"], abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_lost_process_costs_only_the_time_since_the_last_checkpoint(
    prepared: Path, together: Path, tmp_path: Path, rank: int
) -> None:
    """Both processes are started again by torchrun, and go on at the step in which one was killed."""
    lost = f"{rank}:5:{signal.SIGKILL.value}"
    done = _run(prepared, tmp_path / "cut", 2, "train.checkpoint_minutes=0", end=lost)
    assert done.returncode == 0, done.stderr
    assert Path(f"{tmp_path / 'cut'}-steps.jsonl.ended").exists()
    assert [step for step, _ in _lines(tmp_path / "cut")] == list(range(STEPS))
    expected = {step: pytest.approx(values, rel=1e-6) for step, values in _steps(together).items()}
    assert _steps(tmp_path / "cut") == expected


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_the_same_command_goes_on_to_the_same_bytes(
    prepared: Path, alone: Path, tmp_path: Path, number: signal.Signals
) -> None:
    cut = tmp_path / "cut"
    done = _run(prepared, cut, 1, "runtime.workers=1", "train.checkpoint_minutes=0", end=f"0:5:{number.value}")
    if number == signal.SIGKILL:
        assert done.returncode == -signal.SIGKILL
    else:
        assert "the same command continues" in done.stderr
        assert done.returncode == 130
    assert list((cut / ".work").glob("checkpoint-*.pt"))
    assert not (cut / "generator.safetensors").exists()
    assert _run(prepared, cut, 1).returncode == 0
    assert (cut / "generator.safetensors").read_bytes() == (alone / "generator.safetensors").read_bytes()
    assert _steps(cut) == _steps(alone)


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
    done = _unseg(*_train_arguments(prepared, tmp_path / "out", setting))
    assert done.exit_code == 2
    assert message in done.stderr
