"""Carries over every file that is not a sample's image, unchanged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.protect.manifest import OWN_FILES
from unseg_core.protect.other_pictures import OtherPictures
from unseg_core.protect.path_set import PathSet

T = TypeVar("T")


def carried_files(root: str, images: PathSet) -> Iterator[str]:
    """Paths of a data set that its copy has as they are."""
    return (path for path in storage.list_files(root) if path not in images and path not in OWN_FILES)


def carry_over(layout: Layout, images: PathSet, target: str, *, workers: int, scratch: str | None) -> OtherPictures:
    """Copy them, several at a time. What is there already is left: it appeared whole. Returns the pictures among them.

    Raises:
        DataError: a file cannot be read.
        StorageError: the target cannot be written.
    """
    is_there, others = _presence(target), OtherPictures.of(layout)
    missing = (path for path in others.seeing(carried_files(layout.root, images)) if not is_there(path))

    def copy(path: str) -> None:
        storage.copy_file(storage.join(layout.root, path), storage.join(target, path), scratch=scratch)

    each(copy, missing, workers)
    return others


def _presence(target: str) -> Callable[[str], bool]:
    if storage.is_remote(target):
        # One listing instead of a request for each file.
        there = PathSet(storage.list_files(target) if storage.is_folder(target) else ())
        return there.__contains__
    return lambda path: storage.exists(storage.join(target, path))


def each(work: Callable[[T], None], items: Iterable[T], workers: int) -> None:
    """Run `work` for every item in threads, with a bounded number of them waiting; the first error ends it."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[None]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= 8 * workers:
                    waiting.popleft().result()
            while waiting:
                waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
