"""Progress of long work: one line that updates on a terminal, plain lines every ten seconds in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

LOG_SECONDS = 10.0


@contextlib.contextmanager
def progress(label: str, total: int, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of units just done."""
    if sys.stderr.isatty():
        with contextlib.suppress(ImportError):
            yield from _terminal(label, total, unit)
            return
    yield from _log(label, total, unit)


def _terminal(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.update(task, advance=count)


def _log(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    start = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= LOG_SECONDS or done == total:
            last = now
            rate = done / max(now - start, 1e-9)
            left = (total - done) / rate if rate else 0.0
            print(f"{label}: {done}/{total} {unit}, {rate:.1f}/s, {left:.0f} s left", file=sys.stderr, flush=True)

    yield advance
