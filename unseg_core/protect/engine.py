"""A whole data set: carry over, protect image by image, write the manifest last.

Every finished image is a line of a journal in the target, so that a run that was cut off continues where it was.
The bytes depend neither on how the work is shared out nor on kills: an image's noise depends on nothing but the image.
Nothing here holds a list of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.data.sample import wanted_categories
from unseg_core.errors import DataError, ManifestError, ParameterError
from unseg_core.images import EXTENSIONS
from unseg_core.progress import progress
from unseg_core.protect.card import dataset_card
from unseg_core.protect.carry import carry_over
from unseg_core.protect.journal import Journal, clear_target, open_journal
from unseg_core.protect.manifest import (
    CARD,
    OWN_FILES,
    SUMMARY,
    Line,
    Settings,
    line_of,
    read_summary,
    write_lines,
    write_summary,
)
from unseg_core.protect.methods import Method
from unseg_core.protect.other_pictures import OtherPictures
from unseg_core.protect.pipeline import Parallel, Pipeline, Task
from unseg_core.protect.survey import survey
from unseg_core.protect.writer import Job


class Engine(Protocol):
    """Who protects the images: this process, several, or several machines."""

    @property
    def workers(self) -> int:
        """Threads that this process may use for the files that are carried over."""
        ...

    def run(self, job: Job, journal: Journal, tasks: Iterator[Task], advance: Callable[[int], None]) -> None:
        """Protect what `tasks` lists into the journal; `advance` takes the number of images just done."""
        ...


@dataclass(frozen=True, kw_only=True)
class InProcess:
    """The engine of one process."""

    method: Method
    parallel: Parallel

    @property
    def workers(self) -> int:
        return self.parallel.workers

    def run(self, job: Job, journal: Journal, tasks: Iterator[Task], advance: Callable[[int], None]) -> None:
        run_pipeline(job, self.method, self.parallel, journal, tasks, advance)


def run_pipeline(
    job: Job,
    method: Method,
    parallel: Parallel,
    journal: Journal,
    tasks: Iterator[Task],
    advance: Callable[[int], None],
) -> None:
    """Protect images in this process."""
    with journal.writer() as writer:

        def emit(index: int, line: Line) -> None:
            writer.add(index, line)
            advance(1)

        Pipeline(job, method, parallel).run(tasks, emit)


def protect_dataset(
    layout: Layout,
    method: Method,
    settings: Settings,
    target: str,
    *,
    workers: int = 2,
    batch_size: int = 1,
    overwrite: bool = False,
    finish: bool = False,
) -> dict[str, Any]:
    """As `protect_with`, in this process: `workers` threads for decoding and encoding, `batch_size` for a network."""
    engine = InProcess(method=method, parallel=Parallel(workers=workers, batch_size=batch_size))
    return protect_with(engine, layout, settings, target, overwrite=overwrite, finish=finish)


def protect_with(
    engine: Engine, layout: Layout, settings: Settings, target: str, *, overwrite: bool = False, finish: bool = False
) -> dict[str, Any]:
    """Write a protected copy of a data set to the folder or URL `target`.

    Args:
        overwrite: replace a copy that is in the target, finished or not.
        finish: accept a target that the same run has finished before (its summary is returned).

    Returns:
        The manifest's summary (settings, totals, sha256).

    Raises:
        DataError: an annotation has no image, or a file that is carried over cannot be read.
        StorageError: a disk is full, a server does not answer; the same call continues.
        ParameterError: unknown targets, target and source lie in each other, or the target holds something else.
    """
    check_source(layout, settings)
    check_target(layout.root, target)
    if overwrite:
        clear_target(target)
    if done := _finished(target, settings, finish):
        return done
    found = survey(layout, settings)
    journal = open_journal(target, settings)
    try:
        others = carry_over(layout, found.images, target, workers=engine.workers, scratch=journal.scratch)
        job = Job(layout=layout, settings=settings, target=target, scratch=journal.scratch, clashes=found.clashes)
        with progress(f"protect {settings.method}", found.count - journal.count()) as advance:
            engine.run(job, journal, unfinished(layout, journal), advance)
        return _complete(journal, settings, found.count, others)
    finally:
        journal.release()


def check_source(layout: Layout, settings: Settings) -> None:
    """Refuse a source that would leave a hole in the copy."""
    wanted_categories(settings.targets, layout.classes)
    orphans = layout.orphans()
    if orphans:
        raise DataError(
            f"{orphans[0]} has no image ({len(orphans)} such masks); rename, add the images "
            f"({', '.join(EXTENSIONS)}), make one mask of several of one image, or remove the masks"
        )
    for name in OWN_FILES:
        if storage.exists(storage.join(layout.root, name)) and not _is_copy(layout.root):
            raise DataError(f"{layout.root} holds {name}, as the copy must; rename it in the source")


def _is_copy(root: str) -> bool:
    try:
        return bool(read_summary(root))
    except ManifestError:
        return False


def check_target(source: str, target: str) -> None:
    """Refuse a target inside the source or the other way round."""
    if storage.is_remote(target) != storage.is_remote(source):
        return
    if storage.is_remote(target):
        here, there = f"{source.rstrip('/')}/", f"{target.rstrip('/')}/"
        within = here.startswith(there) or there.startswith(here)
    else:
        first, second = storage.local_path(source).resolve(), storage.local_path(target).resolve()
        within = first == second or first in second.parents or second in first.parents
    if within:
        raise ParameterError(f"target {target} and source {source} lie in each other; choose a folder elsewhere")


def _finished(target: str, settings: Settings, finish: bool) -> dict[str, Any] | None:
    """The summary of a copy that is complete and needs no more than tidying, or that `finish` accepts."""
    if not storage.exists(storage.join(target, SUMMARY)):
        return None
    journal = Journal(target)
    if journal.exists() and journal.matches(settings):
        # Killed between the summary, which is written last, and the end of the journal.
        journal.end()
        return read_summary(target)
    return read_summary(target) if finish and not journal.exists() else None


def unfinished(layout: Layout, journal: Journal) -> Iterator[Task]:
    """Images that the journal does not have, or whose file is gone, with their index.

    Raises:
        ManifestError: the journal names other images than the data set.
    """
    lines = journal.texts()
    done = next(lines, None)
    for index, sample in enumerate(layout.samples()):
        if done is None or done[0] != index:
            yield index, sample
            continue
        line = line_of(done[1], journal.parts)
        if line.id != sample.id:
            raise ManifestError(f"{layout.root} has changed since {journal.target} was begun; use --overwrite")
        if line.output and not journal.is_remote and not storage.exists(storage.join(journal.target, line.output)):
            yield index, sample
        done = next(lines, None)


def _complete(journal: Journal, settings: Settings, count: int, others: OtherPictures) -> dict[str, Any]:
    """Write manifest, card and, last, the summary, from the journal."""
    target = journal.target
    totals, sha256 = write_lines(target, _gapless(journal, count))
    storage.write_file(storage.join(target, CARD), dataset_card(settings, totals, others).encode())
    summary = write_summary(target, settings, totals, sha256, others.summary())
    journal.end()
    return summary


def _gapless(journal: Journal, count: int) -> Iterator[str]:
    following = 0
    for index, text in journal.texts():
        if index != following:
            raise ManifestError(f"{journal.target} lacks image number {following}; run the same command again")
        following += 1
        yield text
    if following != count:
        raise ManifestError(f"{journal.target} has {following} of {count} images; run the same command again")
