"""Several downloads at once, and their lines on a terminal."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer, serve

from unseg_core.download import BLOCK, download
from unseg_core.downloads import Download, download_all
from unseg_core.errors import DataError
from unseg_core.progress import progress

LARGE = np.random.Generator(np.random.PCG64(1)).bytes(3 * BLOCK)


@pytest.fixture
def server() -> Iterator[FileServer]:
    files = {f"{i}.bin": b"%d" % i * (i + 1) for i in range(9)}
    with serve(FileServer(files=files | {"large.bin": LARGE})) as running:
        yield running


def wanted(server: FileServer, folder: Path, names: list[str]) -> list[Download]:
    return [Download(url=f"{server.url}/{name}", target=folder / name, digest=None, max_bytes=10**9) for name in names]


def test_each_arrives_and_the_sums_are_in_order(server: FileServer, tmp_path: Path) -> None:
    names = ["large.bin", *(f"{i}.bin" for i in range(9))]
    sums = [hashlib.sha256(server.files[name]).hexdigest() for name in names]
    for parallel in (1, 3, 20):
        assert download_all(wanted(server, tmp_path / str(parallel), names), parallel=parallel) == sums
    assert download_all([]) == []


def test_they_run_side_by_side(server: FileServer, tmp_path: Path) -> None:
    server.seconds = 0.3
    start = time.monotonic()
    download_all(wanted(server, tmp_path, [f"{i}.bin" for i in range(4)]), parallel=4)
    one_by_one = 0.3 * len(server.requests)
    assert time.monotonic() - start < 0.6 * one_by_one


def test_the_first_that_fails_stops_the_others(server: FileServer, tmp_path: Path) -> None:
    server.seconds = 0.2
    jobs = wanted(server, tmp_path, ["large.bin", "absent.bin", *(f"{i}.bin" for i in range(9))])
    with pytest.raises(DataError, match=r"absent.bin cannot be read"):
        download_all(jobs, parallel=2)
    asked = len(server.requests)
    time.sleep(0.5)
    assert len(server.requests) == asked
    assert not (tmp_path / "large.bin").exists()
    assert not (tmp_path / "8.bin").exists()
    server.seconds = 0.0
    download_all(wanted(server, tmp_path, ["large.bin"]))
    assert (tmp_path / "large.bin").read_bytes() == LARGE


def test_a_download_can_be_stopped_and_continued(server: FileServer, tmp_path: Path) -> None:
    stop, url, target = threading.Event(), f"{server.url}/large.bin", tmp_path / "large.bin"
    server.seconds = 0.1
    threading.Timer(0.45, stop.set).start()
    with pytest.raises(DataError, match=r"large.bin was stopped; the same command continues"):
        download(url, target, digest=None, max_bytes=10**9, stop=stop)
    server.seconds = 0.0
    download(url, target, digest=None, max_bytes=10**9)
    assert target.read_bytes() == LARGE


def read_all(descriptor: int) -> str:
    """What a terminal has been sent so far."""
    os.set_blocking(descriptor, False)
    shown = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(descriptor, 2**16):
            shown += piece
    os.close(descriptor)
    return shown.decode()


def test_two_at_once_have_a_line_each_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = pty.openpty()
    with os.fdopen(there, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        both = threading.Barrier(2)

        def work(label: str) -> None:
            with progress(label, 50, "MB") as advance:
                both.wait()
                advance(20)
                both.wait()
                advance(30)

        threads = [threading.Thread(target=work, args=(label,)) for label in ("first [1].zip", "second")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with progress("third", 1) as advance:
            advance(1)
        with progress("continued", 3, "epochs", kept=2) as advance:
            advance(1)
        terminal.flush()
        lines = re.sub(r"\x1b\[[0-9?;]*[A-Za-z]", "", read_all(here)).splitlines()
    for label in ("first [1].zip", "second"):
        assert any(line.strip().startswith(label) and "50/50 MB" in line for line in lines), lines
    assert any("third" in line and "1/1 images" in line for line in lines), lines
    assert any("continued" in line and "3/3 epochs" in line for line in lines), lines
