"""Progress of long work: one line that updates on a terminal, plain lines every ten seconds in a log.

Work in several threads at once has a line each.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

LOG_SECONDS = 10.0


@contextlib.contextmanager
def progress(label: str, total: int, unit: str = "images", *, kept: int = 0) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of units just done.

    Args:
        kept: of `total`, done by an earlier run; they say nothing about the pace of this one.
    """
    if sys.stderr.isatty() and importlib.util.find_spec("rich"):
        with _BARS.bar(label, total, unit, kept) as advance:
            yield advance
    else:
        yield from _log(label, total, unit, kept)


class _Bars:
    """The lines on the terminal: one display for all that run at the same time, because two would overwrite another."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.display: Progress | None = None
        self.running = 0

    @contextlib.contextmanager
    def bar(self, label: str, total: int, unit: str, kept: int) -> Iterator[Callable[[int], None]]:
        with self.lock:
            if self.display is None:
                self.display = _display()
                self.display.start()
            self.running += 1
            display = self.display
        task = display.add_task(label, total=total, completed=kept, unit=unit)
        try:
            yield lambda count: display.update(task, advance=count)
        finally:
            with self.lock:
                self.running -= 1
                if self.running == 0:
                    self.display = None
                    display.stop()


_BARS = _Bars()


def _display() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """As `_pace`."""

        def render(self, task: Task) -> Text:
            return Text(_pace(task.speed) if task.speed else "")

    unit, label = TextColumn("{task.fields[unit]}"), TextColumn("{task.description}", markup=False)
    columns = (label, BarColumn(), MofNCompleteColumn(), unit, Rate(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _log(label: str, total: int, unit: str, kept: int) -> Iterator[Callable[[int], None]]:
    start = last = time.monotonic()
    done = kept

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= LOG_SECONDS or done == total:
            last = now
            rate = (done - kept) / max(now - start, 1e-9)
            left = (total - done) / rate if rate else 0.0
            print(f"{label}: {done}/{total} {unit}, {_pace(rate)}, {_duration(left)} left", file=sys.stderr, flush=True)

    yield advance


def _pace(rate: float) -> str:
    """Units a second, or what one takes where that is longer."""
    return f"{rate:.1f}/s" if rate >= 1 or not rate else f"{1 / rate:.1f} s each"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
