"""The machines of a Ray cluster. A machine that dies costs the span of images that it was working on.

Every machine needs this package, and must see source and target under the same paths or URLs.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from unseg_core.errors import ParameterError, StorageError, UnsegError
from unseg_core.protect.engine import run_pipeline
from unseg_core.protect.journal import Journal
from unseg_core.protect.pipeline import Parallel, Task
from unseg_core.protect.shares import SPAN, Cursor, Recipe, Work, spans_of
from unseg_core.protect.writer import Job

PATIENCE = 300.0
"""Seconds without a single working actor after which the run ends, to be continued later."""


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """The engine of a cluster: an actor for each GPU, or for each `threads` processors."""

    recipe: Recipe
    parallel: Parallel
    """Of each actor."""
    address: str = ""
    """Of the cluster; empty starts one on this machine."""
    gpu: bool = False
    threads: int = 1
    span: int = SPAN

    @property
    def workers(self) -> int:
        return self.parallel.workers

    def run(self, job: Job, journal: Journal, tasks: Iterator[Task], advance: Callable[[int], None]) -> None:
        ray = _connect(self.address)
        crew = _Crew(ray, self, Work(job=job, recipe=self.recipe, parallel=self.parallel, threads=self.threads))
        try:
            crew.run(spans_of(tasks, self.span), advance)
        finally:
            crew.end()


def _connect(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise ParameterError("engine ray needs the package ray; run `pip install 'unseg[ray]'`") from None
    if not ray.is_initialized():
        _check_reachable(address)
        try:
            ray.init(address=address or "local", log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            text = " ".join(str(error).split())
            raise ParameterError(f"no Ray cluster at {address!r} ({text}); correct the address") from None
    return ray


def _check_reachable(address: str) -> None:
    """Ray itself waits minutes for a cluster that is not there."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=20).close()
    except OSError as error:
        raise ParameterError(f"no Ray cluster at {address!r} ({error}); correct the address") from None


class Actor:
    """Lives in the cluster: protects spans."""

    def __init__(self, work: Work, device: str) -> None:
        self.work = work
        self.device = device
        self.journal = Journal(work.job.target)
        self.cursor = Cursor(work.job.layout)

    def ready(self) -> None:
        """Answers when the actor has been placed and its method built. Errors here are told, those of __init__ not."""
        if not self.journal.exists():
            raise StorageError(
                f"a machine of the cluster does not see {self.work.job.target}; give a URL or a disk that all share"
            )
        self.method = self.work.method(self.device)

    def protect(self, start: int, stop: int) -> int:
        """Returns the number of images."""
        tasks = self.cursor.tasks(range(start, stop))
        run_pipeline(self.work.job, self.method, self.work.parallel, self.journal, tasks, lambda count: None)
        return stop - start


class _Crew:
    """The actors, what each of them is at, and the spans that dead ones have left."""

    def __init__(self, ray: Any, cluster: RayCluster, work: Work) -> None:
        self.ray = ray
        needs = {"num_gpus": 1} if cluster.gpu else {"num_cpus": cluster.threads}
        options = {**needs, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        self.actor_class = ray.remote(Actor).options(**options)
        self.device = "cuda" if cluster.gpu else "cpu"
        self.work = ray.put(work)
        self.waiting: deque[range] = deque()
        self.actors: list[Any] = []
        self.busy: dict[Any, tuple[Any, range | None]] = {}
        total = ray.cluster_resources().get("GPU" if cluster.gpu else "CPU", 0)
        self.size = max(1, int(total // (1 if cluster.gpu else cluster.threads)))
        self.deaths = 0
        for _ in range(self.size):
            self._hire()

    def _hire(self) -> None:
        actor = self.actor_class.remote(self.work, self.device)
        self.actors.append(actor)
        # Only an actor that has answered is given work: one that cannot be placed holds nothing up.
        self.busy[actor.ready.remote()] = (actor, None)

    def run(self, spans: Iterator[range], advance: Callable[[int], None]) -> None:
        last = time.monotonic()
        more = True
        idle: deque[Any] = deque()
        while more or self.waiting or idle or self._working():
            while idle:
                span = self.waiting.popleft() if self.waiting else next(spans, None)
                if span is None:
                    more = False
                    break
                actor = idle.popleft()
                self.busy[actor.protect.remote(span.start, span.stop)] = (actor, span)
            if not (more or self.waiting or self._working()):
                return
            done, _ = self.ray.wait(list(self.busy), num_returns=1, timeout=1.0)
            for answer in done:
                if (actor := self._take(answer, advance)) is not None:
                    idle.append(actor)
            last = time.monotonic() if done or self._working() else last
            if time.monotonic() - last > PATIENCE:
                raise StorageError("no machine of the Ray cluster is free; the same command continues")

    def _working(self) -> bool:
        return any(span is not None for _, span in self.busy.values())

    def _take(self, answer: Any, advance: Callable[[int], None]) -> Any:
        """The actor that has answered; None if it has died, and another is hired."""
        actor, span = self.busy.pop(answer)
        try:
            count = self.ray.get(answer)
        except UnsegError as error:
            raise getattr(error, "cause", error) from None
        except self.ray.exceptions.RayTaskError:
            raise
        except self.ray.exceptions.RayError as error:
            self._bury(actor, span, error)
            return None
        if span is not None:
            advance(count)
        return actor

    def _bury(self, actor: Any, span: range | None, error: Exception) -> None:
        cause = getattr(error, "cause", None)
        self.deaths += 1
        if self.deaths > 10 + 3 * self.size:
            text = " ".join(str(cause or error).split())[:300]
            raise StorageError(f"actors of the Ray cluster keep dying ({text}); the same command continues")
        if span is not None:
            self.waiting.append(span)
        self.actors.remove(actor)
        self._hire()

    def end(self) -> None:
        for actor in self.actors:
            self.ray.kill(actor)
