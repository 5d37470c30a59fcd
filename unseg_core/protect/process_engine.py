"""Several processes of one machine: one for each GPU, or for processors that one process cannot keep busy."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from unseg_core.errors import StorageError, UnsegError
from unseg_core.forkserver import end_with_parent, start_method
from unseg_core.protect.engine import run_pipeline
from unseg_core.protect.journal import Journal
from unseg_core.protect.methods import WITH_TORCH
from unseg_core.protect.pipeline import Parallel, Task
from unseg_core.protect.shares import Cursor, Recipe, Work, spans_of
from unseg_core.protect.writer import Job

SECONDS = 0.2
"""How often a waiting process looks whether the others are well."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The engine of several processes, one for each device named."""

    recipe: Recipe
    parallel: Parallel
    """Of each of them."""
    devices: tuple[str, ...]
    threads: int = 1

    @property
    def workers(self) -> int:
        return self.parallel.workers * len(self.devices)

    def run(self, job: Job, journal: Journal, tasks: Iterator[Task], advance: Callable[[int], None]) -> None:
        work = Work(job=job, recipe=self.recipe, parallel=self.parallel, threads=self.threads)
        team = _Team(work, self.devices, advance)
        try:
            for span in spans_of(tasks):
                team.give(span)
            team.finish()
        finally:
            team.end()


class _Team:
    """Running processes and their queues."""

    def __init__(self, work: Work, devices: tuple[str, ...], advance: Callable[[int], None]) -> None:
        context = start_method(__name__, WITH_TORCH.get(work.recipe.name, __name__))
        self.advance = advance
        self.spans: Any = context.Queue(maxsize=len(devices))
        self.reports: Any = context.Queue()
        self.processes: list[BaseProcess] = [
            context.Process(target=_serve, args=(work, device, self.spans, self.reports), daemon=True)
            for device in devices
        ]
        for process in self.processes:
            process.start()

    def give(self, span: range | None) -> None:
        while True:
            with contextlib.suppress(queue.Full):
                self.spans.put(span, timeout=SECONDS)
                return
            self._look()

    def finish(self) -> None:
        for _ in self.processes:
            self.give(None)
        while any(process.is_alive() for process in self.processes):
            self._look()
        self._look()

    def _look(self) -> None:
        """Take what was reported; raise what has gone wrong."""
        with contextlib.suppress(queue.Empty):
            while True:
                report = self.reports.get(timeout=SECONDS)
                if isinstance(report, UnsegError):
                    raise report
                self.advance(report)
        for process in self.processes:
            if process.exitcode:
                raise StorageError(
                    f"a process ended with {process.exitcode} (negative: the signal, such as of a machine without "
                    "memory); the same command continues, with fewer processes or workers if need be"
                )

    def end(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join()
        for one in (self.spans, self.reports):
            one.cancel_join_thread()
            one.close()


def _serve(work: Work, device: str, spans: Any, reports: Any) -> None:
    """A process of the team: protects spans until it is given None."""
    end_with_parent()
    try:
        method, cursor = work.method(device), Cursor(work.job.layout)
        tasks = (task for span in iter(spans.get, None) for task in cursor.tasks(span))
        run_pipeline(work.job, method, work.parallel, Journal(work.job.target), tasks, reports.put)
    except UnsegError as error:
        reports.put(error)
