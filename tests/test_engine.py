"""The engine: the same bytes however the work is shared out, kills, interrupts, full disks, bounded memory."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PROJECT, write_pairs
from killed_run import start_run
from PIL import Image
from test_protect import settings, tree

from unseg_core.data.layouts import open_layout
from unseg_core.errors import ManifestError, ParameterError, StorageError, UnsegError
from unseg_core.model.generator import Generator
from unseg_core.model.sizes import TINY
from unseg_core.model.weights import initialise
from unseg_core.protect.engine import InProcess, protect_dataset, protect_with
from unseg_core.protect.execution import Execution, choose_engine, parallel_of
from unseg_core.protect.journal import WORK, Journal
from unseg_core.protect.manifest import Line, read_manifest
from unseg_core.protect.methods import MethodOptions
from unseg_core.protect.methods.uniform import UniformNoise
from unseg_core.protect.methods.unseg import UnsegNoise
from unseg_core.protect.path_set import PathSet
from unseg_core.protect.pipeline import Parallel
from unseg_core.protect.pixel_budget import PixelBudget
from unseg_core.protect.process_engine import Processes
from unseg_core.protect.shares import Cursor, Recipe, spans_of
from unseg_core.protect.verify import verify_copy

UNIFORM = Recipe(name="uniform", options=MethodOptions())


def protect_folder(source: Path, target: Path, **options: Any) -> dict[str, Any]:
    return protect_dataset(open_layout("folder", str(source)), UniformNoise(), settings(), str(target), **options)


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    return write_pairs(tmp_path / "source", 12, rng)


def test_a_network_gives_the_same_bytes_for_every_batch_and_number_of_workers(source: Path, tmp_path: Path) -> None:
    method = UnsegNoise(generator=initialise(Generator, TINY, 1, noise_filter="stripes").eval())
    layout, how = open_layout("folder", str(source)), replace(settings(), method="unseg")
    # One image of another shape and one without colour, since a batch takes what is ready.
    Image.new("RGB", (90, 30), (9, 99, 199)).save(source / "images" / "photo 03.png")
    Image.open(source / "images" / "photo 05.png").convert("L").save(source / "images" / "photo 05.png")
    Image.new("L", (90, 30), 255).save(source / "masks" / "photo 03.png")
    for name, workers, batch in (("a", 1, 1), ("b", 3, 4), ("c", 2, 32)):
        protect_dataset(layout, method, how, str(tmp_path / name), workers=workers, batch_size=batch)
    first = tree(tmp_path / "a")
    assert first == tree(tmp_path / "b") == tree(tmp_path / "c")
    assert len(first) == 24 + 3


@pytest.mark.slow
def test_processes_give_the_same_bytes_and_continue(source: Path, tmp_path: Path) -> None:
    layout = open_layout("folder", str(source))
    team = Processes(recipe=UNIFORM, parallel=Parallel(), devices=("cpu", "cpu"))
    whole = protect_folder(source, tmp_path / "one")
    assert protect_with(team, layout, settings(), str(tmp_path / "two")) == whole
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


class KilledError(Exception):
    """In place of a kill, where the process must go on."""


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run_which_can_be_continued(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 60, rng, side=300)
    layout, target = open_layout("folder", str(source)), str(tmp_path / "copy")
    lost = Recipe(name="unseg", options=MethodOptions(generator=tmp_path / "absent.safetensors"))
    team = Processes(recipe=lost, parallel=Parallel(), devices=("cpu", "cpu"))
    with pytest.raises(UnsegError, match=r"absent\.safetensors"):
        protect_with(team, layout, settings(), target)

    def kill_one() -> None:
        wait_for(lambda: Journal(target).count() >= 3)
        os.kill(int(multiprocessing.active_children()[0].pid or 0), signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(StorageError, match="a process ended with -9"):
        protect_with(replace(team, recipe=UNIFORM), layout, settings(), target)
    killer.join()
    protect_with(replace(team, recipe=UNIFORM), layout, settings(), target)
    protect_folder(source, tmp_path / "whole")
    assert tree(tmp_path / "copy") == tree(tmp_path / "whole")


def stop_after(count: int) -> Any:
    """An engine that ends in the middle, as a kill would."""

    class Stopping(InProcess):
        def run(self, job: Any, journal: Any, tasks: Any, advance: Any) -> None:
            done = 0

            def limited(number: int) -> None:
                nonlocal done
                done += number
                if done >= count:
                    raise KilledError

            super().run(job, journal, tasks, limited)

    return Stopping(method=UniformNoise(), parallel=Parallel())


def test_work_that_is_done_is_not_done_again(source: Path, tmp_path: Path) -> None:
    layout, target = open_layout("folder", str(source)), str(tmp_path / "copy")
    with pytest.raises(KilledError):
        protect_with(stop_after(7), layout, settings(), target)
    done = [text for _, text in Journal(target).texts()]
    assert len(done) >= 7
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "copy" / "images").iterdir()}
    written = {json.loads(text)["output"] for text in done}
    (tmp_path / "copy" / "images" / "photo 02.png").unlink()
    protect_folder(source, tmp_path / "copy")
    protect_folder(source, tmp_path / "whole")
    assert tree(tmp_path / "copy") == tree(tmp_path / "whole")
    for path, time_ns in before.items():
        kept = f"images/{path.name}" in written and path.name != "photo 02.png"
        assert not kept or path.stat().st_mtime_ns == time_ns


def test_another_source_or_another_run_is_noticed(source: Path, tmp_path: Path) -> None:
    layout, target = open_layout("folder", str(source)), str(tmp_path / "copy")
    with pytest.raises(KilledError):
        protect_with(stop_after(5), layout, settings(), target)
    holder = Journal(target)
    holder.lock()
    with pytest.raises(ParameterError, match="another run is writing"):
        protect_folder(source, tmp_path / "copy")
    holder.release()
    for folder in ("images", "masks"):
        (source / folder / "photo 00.png").rename(source / folder / "renamed.png")
    with pytest.raises(ManifestError, match="has changed since"):
        protect_folder(source, tmp_path / "copy")
    assert protect_folder(source, tmp_path / "copy", overwrite=True)["totals"]["protected"] == 12


def test_overwrite_removes_copies_and_nothing_else(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(ParameterError, match="leaves alone"):
        protect_folder(source, tmp_path / "mine", overwrite=True)
    assert tree(tmp_path / "mine") == {"thesis.txt": b"mine"}
    (source / "manifest.json").write_text("{}")
    with pytest.raises(Exception, match=r"holds manifest.json, as the copy must"):
        protect_folder(source, tmp_path / "copy")


def test_a_run_killed_in_its_last_moment_is_complete(source: Path, tmp_path: Path) -> None:
    protect_folder(source, tmp_path / "copy")
    whole = tree(tmp_path / "copy")
    Journal(str(tmp_path / "copy")).begin(settings())
    assert (tmp_path / "copy" / WORK).exists()
    protect_folder(source, tmp_path / "copy")
    assert tree(tmp_path / "copy") == whole


def test_a_full_disk_is_one_line_and_the_run_continues(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 4, rng)
    pixels = rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(source / "images" / "photo 02.png")
    Image.new("L", (400, 400), 255).save(source / "masks" / "photo 02.png")

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageError, match=r"cannot be written \(File too large\); make room"):
            protect_folder(source, tmp_path / "copy", workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "copy" / "manifest.json").exists()
    assert not (tmp_path / "copy" / "images" / "photo 02.png").exists()
    protect_folder(source, tmp_path / "copy")
    protect_folder(source, tmp_path / "whole")
    assert tree(tmp_path / "copy") == tree(tmp_path / "whole")


def test_a_target_that_cannot_be_written_is_one_line(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file" / "copy", Path("/proc/unseg-copy")):
        with pytest.raises(StorageError, match="cannot be made"):
            protect_folder(source, target)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid() != 0:
        with pytest.raises(StorageError, match="cannot be made"):
            protect_folder(source, locked / "copy")


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "unseg_core.cli", *map(str, arguments)]
    return subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_an_interrupt_is_exit_130_and_the_same_command_continues(
    tmp_path: Path, rng: np.random.Generator, number: int
) -> None:
    source, target = write_pairs(tmp_path / "source", 60, rng, side=300), tmp_path / "copy"
    process = start("protect", source, target, "--method", "uniform", "--workers", "1", "--layout", "folder")
    wait_for(lambda: Journal(str(target)).count() >= 5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command continues" in errors
    assert 5 <= Journal(str(target)).count() < 60
    protect_folder(source, target)
    protect_folder(source, tmp_path / "whole")
    assert tree(target) == tree(tmp_path / "whole")


def wait_for(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


@pytest.mark.slow
def test_twenty_kills_change_no_byte(tmp_path: Path, rng: np.random.Generator) -> None:
    source, target = write_pairs(tmp_path / "source", 300, rng, side=100), tmp_path / "copy"
    (source / "big.bin").write_bytes(rng.bytes(20_000_000))
    chance, moments = random.Random(5), []
    for _ in range(20):
        process = start_run(str(source), str(target), 2)
        before = Journal(str(target)).count() if target.exists() else 0
        goal = before + chance.randrange(0, 14)
        wait_for(lambda goal=goal: target.exists() and Journal(str(target)).count() >= goal)
        time.sleep(chance.random() / 50)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"finished after {moments}"
        moments.append(Journal(str(target)).count())
    assert not (target / "manifest.json").exists()
    assert moments == sorted(moments)
    protect_folder(source, target)
    protect_folder(source, tmp_path / "whole")
    assert tree(target) == tree(tmp_path / "whole")
    assert not list(target.rglob(".unseg-*"))
    for path in (target / "images").iterdir():
        Image.open(path).load()
    assert not verify_copy(str(target), str(source)).differences


def test_the_path_set_knows_its_paths_and_the_budget_lets_one_giant_in() -> None:
    paths = [f"images/{i}.png" for i in range(1000)]
    known = PathSet([*paths, "images/7.png"])
    assert all(path in known for path in paths)
    assert "images/1000.png" not in known
    assert [path for path in paths if known.is_repeated(path)] == ["images/7.png"]
    assert "x" not in PathSet([])
    budget = PixelBudget(100)
    budget.acquire(1000)
    budget.release(1000)
    budget.acquire(60)
    budget.acquire(40)
    assert (budget.used, budget.images) == (100, 2)


def test_spans_are_runs_of_what_is_missing_and_the_cursor_finds_them(source: Path) -> None:
    layout = open_layout("folder", str(source))
    tasks = [task for task in enumerate(layout.samples()) if task[0] not in (3, 4, 9)]
    spans = list(spans_of(tasks, 4))
    assert spans == [range(0, 3), range(5, 9), range(10, 12)]
    cursor = Cursor(layout)
    found = [(index, sample.id) for span in (*spans, spans[0]) for index, sample in cursor.tasks(span)]
    assert found == [(i, s.id) for i, s in tasks] + [(i, s.id) for i, s in tasks[:3]]


def line(name: str) -> Line:
    return Line(
        id=name, image=name, status="failed", reason="x", method="uniform", generator_sha256=None, epsilon=8.0,
        epsilon_bg=2.0, prompt="mask",
    )  # fmt: skip


def test_the_journal_merges_parts_and_drops_what_was_cut_off(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "copy"))
    journal.begin(settings())
    for first in (0, 10, 4, 0):
        with journal.writer() as writer:
            for index in range(first, first + 6):
                writer.add(index, line(str(index)))
    part = sorted(Path(journal.parts).iterdir())[-1]
    part.write_bytes(part.read_bytes()[:-5])
    assert [index for index, _ in journal.texts()] == list(range(15))
    assert [json.loads(text)["id"] for _, text in journal.texts()] == [str(i) for i in range(15)]


def test_engines_are_chosen_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    one = choose_engine(UNIFORM, Execution(), "cpu")
    assert isinstance(one, InProcess)
    assert one.parallel == Parallel(workers=8, batch_size=1)
    assert parallel_of(UNIFORM, Execution(processes=3), "cpu").workers == 2
    assert parallel_of(UNIFORM, Execution(engine="ray"), "cpu").workers == 2
    unseg = Recipe(name="unseg", options=MethodOptions())
    assert parallel_of(unseg, Execution(), "cpu").workers == 2
    assert parallel_of(unseg, Execution(), "cuda") == Parallel(workers=8, batch_size=8)
    two = choose_engine(UNIFORM, Execution(processes=2, workers=3), "cpu")
    assert isinstance(two, Processes)
    assert (two.devices, two.workers) == (("cpu", "cpu"), 6)
    with pytest.raises(ParameterError, match="workers"):
        Execution(workers=-1)


def test_a_thousand_failures_are_counted_and_some_are_named(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 1, rng)
    for i in range(300):
        (source / "images" / f"broken {i}.png").write_bytes(b"")
        (source / "masks" / f"broken {i}.png").write_bytes(b"")
    totals = protect_folder(source, tmp_path / "copy")["totals"]
    assert (totals["protected"], totals["failed"]) == (1, 300)
    card = (tmp_path / "copy" / "DATASET_CARD.md").read_text()
    assert card.count("is empty (0 bytes)") == 200
    assert "and 100 more" in card
    assert len(read_manifest(str(tmp_path / "copy"))[1]) == 301
