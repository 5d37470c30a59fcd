"""Batches prepared by a thread while the model works on the ones before."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from unseg_core.evaluate.batch import Batch

AHEAD = 2
"""So many batches wait at most."""


class BatchesAhead:
    """Iterates over the batches of the given rows, in their order; `waited` counts the seconds that the user waited.

    One thread makes all of them, one after the other, so that random numbers are drawn in the same order as without it.
    """

    def __init__(self, load: Callable[[Sequence[int]], Batch], rows: Sequence[Sequence[int]]) -> None:
        self.load = load
        self.rows = rows
        self.waited = 0.0
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(AHEAD)
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Batch]:
        """Raises what loading raises."""
        thread = threading.Thread(target=self._fill, daemon=True)
        thread.start()
        try:
            for _ in self.rows:
                start = time.perf_counter()
                one = self._ready.get()
                self.waited += time.perf_counter() - start
                if isinstance(one, BaseException):
                    raise one
                yield one
        finally:
            self._closed.set()
            while thread.is_alive():
                self._drain()
                thread.join(0.01)

    def _fill(self) -> None:
        try:
            for rows in self.rows:
                if self._closed.is_set():
                    return
                self._ready.put(self.load(rows))
        except BaseException as error:
            self._ready.put(error)

    def _drain(self) -> None:
        while not self._ready.empty():
            self._ready.get_nowait()
