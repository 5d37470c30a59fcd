"""Several downloads side by side. The first that fails stops the others, and what they have is continued next time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unseg_core.download import download

PARALLEL = 4
"""Servers limit a connection more than a machine its sum; more than a few only annoys them."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file to bring, as for `unseg_core.download.download`."""

    url: str
    target: Path
    digest: str | None
    max_bytes: int


def download_all(wanted: Sequence[Download], *, parallel: int = PARALLEL) -> list[str]:
    """Fetch every file that is not there yet; returns their sha256 in the same order.

    Raises:
        DataError: as `download`, of the one that failed first.
    """
    stop = threading.Event()
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    finished: queue.SimpleQueue[tuple[int, str | BaseException]] = queue.SimpleQueue()
    for index in range(len(wanted)):
        waiting.put(index)

    def work() -> None:
        while not stop.is_set():
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                return
            finished.put((index, _outcome(wanted[index], stop)))

    # Daemons: a connection that hangs must not keep an interrupted program from ending.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(parallel, len(wanted)))]
    for thread in threads:
        thread.start()
    try:
        sums = dict(_succeeded(*finished.get()) for _ in wanted)
    except Exception:
        stop.set()
        for thread in threads:
            thread.join()
        raise
    finally:
        stop.set()
    return [sums[index] for index in range(len(wanted))]


def _outcome(one: Download, stop: threading.Event) -> str | BaseException:
    """The sha256, or what went wrong: an exception in a thread would be printed and lost."""
    try:
        return download(one.url, one.target, digest=one.digest, max_bytes=one.max_bytes, stop=stop)
    except BaseException as error:
        return error


def _succeeded(index: int, outcome: str | BaseException) -> tuple[int, str]:
    if isinstance(outcome, BaseException):
        raise outcome
    return index, outcome
