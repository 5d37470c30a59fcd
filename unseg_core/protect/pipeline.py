"""Many images at a time: decode, network, encode and write overlap, and results come in the order of the images.

Threads do it: decoding, zlib and numpy let go of Python's lock. A method with a network gets a thread of its own that
takes what is ready, up to a batch; other methods make their noise in the thread of the image.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from unseg_core import storage
from unseg_core.data.sample import Sample
from unseg_core.errors import DataError
from unseg_core.protect.manifest import Line
from unseg_core.protect.methods import Method
from unseg_core.protect.pixel_budget import PixelBudget
from unseg_core.protect.writer import Job, Prepared, failed_line, finish, pixels_of, prepare, read_image

Task = tuple[int, Sample]
"""An image and its index in the data set."""
Emit = Callable[[int, Line], None]


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """How much is done at a time in one process. The bytes do not depend on it."""

    workers: int = 2
    """Threads that decode, and as many that encode."""
    batch_size: int = 1
    """Most images of one pass of the network."""


PIXELS_IN_WORK = 32_000_000
"""About a gigabyte: an image in work takes up to 35 bytes a pixel."""


@dataclass(kw_only=True)
class _Item:
    """An image on its way."""

    sample: Sample
    result: Future[Line]
    prepared: Prepared | None = None
    pixels: int = 0
    """What it holds of the budget."""


def has_network(method: Method) -> bool:
    """True for methods whose work is one network's, which only one thread should run."""
    return hasattr(method, "generator")


def noises_of(method: Method, prepared: Sequence[Prepared]) -> list[np.ndarray]:
    """The noise of images that are worked on together: one, unless the method has a network."""
    noises: dict[int, np.ndarray] = {}
    for grey in (False, True):
        rows = [row for row, one in enumerate(prepared) if one.picture.grey == grey]
        if not rows:
            continue
        fitting = method.in_grey() if grey else method
        found = fitting.noises(
            [prepared[row].picture.pixels for row in rows],
            [prepared[row].target for row in rows],
            [prepared[row].sample.id for row in rows],
        )
        noises.update(zip(rows, found, strict=True))
    return [noises[row] for row in range(len(prepared))]


class Pipeline:
    """The threads of one run."""

    def __init__(self, job: Job, method: Method, parallel: Parallel) -> None:
        self.job = job
        self.method = method
        self.batch_size = parallel.batch_size if has_network(method) else 1
        self.window = 3 * parallel.workers + 2 * self.batch_size
        self.readers = ThreadPoolExecutor(parallel.workers, thread_name_prefix="decode")
        self.writers = ThreadPoolExecutor(parallel.workers, thread_name_prefix="encode")
        self.ready: queue.Queue[_Item | None] = queue.Queue()
        self.network = threading.Thread(target=self._run_network, name="network")
        self.budget = PixelBudget(PIXELS_IN_WORK)
        self.turn = threading.Lock()
        self.is_far = storage.is_remote(job.layout.root) or storage.is_remote(job.target)
        self.stopped = threading.Event()

    def run(self, tasks: Iterable[Task], emit: Emit) -> None:
        """Protect the images; `emit` is called in their order, from this thread, with what has been written.

        When it ends early, by an error or an interrupt, what is in work is finished or dropped, and all that was
        written up to the first gap has been emitted.
        """
        waiting: deque[tuple[int, Future[Line]]] = deque()
        more = iter(tasks)
        self.network.start()
        try:
            self._fill(waiting, itertools.islice(more, self.window))
            while waiting:
                index, result = waiting[0]
                emit(index, result.result())
                waiting.popleft()
                self._fill(waiting, itertools.islice(more, 1))
        except BaseException:
            self._stop()
            self._emit_done(waiting, emit)
            raise
        self._stop()

    def _fill(self, waiting: deque[tuple[int, Future[Line]]], tasks: Iterator[Task]) -> None:
        for index, sample in tasks:
            item = _Item(sample=sample, result=Future())
            waiting.append((index, item.result))
            self.readers.submit(self._guarded, self._read, item)

    def _stop(self) -> None:
        self.stopped.set()
        self.readers.shutdown(cancel_futures=True)
        self.ready.put(None)
        self.network.join()
        self.writers.shutdown()

    def _emit_done(self, waiting: deque[tuple[int, Future[Line]]], emit: Emit) -> None:
        while waiting and waiting[0][1].done() and waiting[0][1].exception() is None:
            index, result = waiting.popleft()
            emit(index, result.result())

    def _guarded(self, step: Callable[[_Item], None], item: _Item) -> None:
        """Whatever goes wrong in a thread is the result of the image."""
        try:
            step(item)
        except BaseException as error:
            self._settle(item, error)

    def _settle(self, item: _Item, outcome: Line | BaseException) -> None:
        """The end of every image's way."""
        if item.pixels:
            self.budget.release(item.pixels)
        if isinstance(outcome, Line):
            item.result.set_result(outcome)
        else:
            item.result.set_exception(outcome)

    def _read(self, item: _Item) -> None:
        self._check_stopped()
        try:
            data = read_image(self.job, item.sample)
        except DataError as error:
            self._settle(item, failed_line(self.job.settings, item.sample, error))
            return
        if pixels := pixels_of(data):
            self.budget.acquire(pixels)
            item.pixels = pixels
        self._check_stopped()
        self._prepare(item, data)

    def _prepare(self, item: _Item, data: bytes) -> None:
        with self._turn(item):
            prepared = prepare(self.job, item.sample, data)
        if isinstance(prepared, Line):
            self._settle(item, prepared)
            return
        item.prepared = prepared
        if has_network(self.method):
            self.ready.put(item)
        else:
            self._finish(item, self._noises([item])[0])

    def _run_network(self) -> None:
        while batch := self._next_batch():
            try:
                noises = self._noises(batch)
            except BaseException as error:
                for item in batch:
                    self._settle(item, error)
                continue
            for item, noise in zip(batch, noises, strict=True):
                self.writers.submit(self._guarded, partial(self._finish, noise=noise), item)

    def _next_batch(self) -> list[_Item]:
        """What is ready, at least one; empty at the end."""
        first = self.ready.get()
        batch = [] if first is None else [first]
        while batch and len(batch) < self.batch_size:
            try:
                item = self.ready.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self.ready.put(None)
                break
            batch.append(item)
        return batch

    def _noises(self, batch: list[_Item]) -> list[np.ndarray]:
        self._check_stopped()
        prepared = [item.prepared for item in batch if item.prepared is not None]
        return noises_of(self.method, prepared)

    def _check_stopped(self) -> None:
        if self.stopped.is_set():
            raise CancelledError

    def _finish(self, item: _Item, noise: np.ndarray) -> None:
        assert item.prepared is not None
        self._settle(item, finish(self.job, item.prepared, noise, self._turn(item)))

    def _turn(self, item: _Item) -> AbstractContextManager[Any]:
        """Small images of a disk take turns: nearly all their work holds Python's lock, slow to change hands.

        Where a server has to answer, threads wait side by side.
        """
        return nullcontext() if item.pixels or self.is_far else self.turn
