"""A whole data set: carry over, protect image by image, write the manifest last.

Every finished image is a line of a journal in the target, so that a run that was cut off continues where it was.
The bytes do not depend on the number of workers: an image's noise depends on nothing but the image.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample, wanted_categories
from unseg_core.errors import DataError, ManifestError, ParameterError
from unseg_core.progress import progress
from unseg_core.protect.card import dataset_card
from unseg_core.protect.manifest import (
    JOURNAL,
    OWN_FILES,
    SUMMARY,
    Line,
    Settings,
    line_from,
    read_manifest,
    to_json,
    write_manifest,
)
from unseg_core.protect.methods import Method
from unseg_core.protect.writer import Job, protect_sample


def protect_dataset(
    layout: Layout,
    method: Method,
    settings: Settings,
    target: str,
    *,
    workers: int = 2,
    overwrite: bool = False,
    finish: bool = False,
) -> dict[str, Any]:
    """Write a protected copy of a data set to the local folder `target`.

    Args:
        workers: images in work at the same time.
        overwrite: replace what is in the target.
        finish: accept a target that the same run has finished before (its summary is returned).

    Returns:
        The manifest's summary (settings, totals, sha256).

    Raises:
        DataError: an annotation has no image, or target and source lie in each other.
        ParameterError: unknown targets, or the target holds something else.
    """
    check_source(layout, settings)
    check_target(layout.root, target)
    if overwrite:
        storage.remove_folder(Path(target))
    if finish and (Path(target) / SUMMARY).exists() and not (Path(target) / JOURNAL).exists():
        return read_manifest(target)[0]
    done = _open_journal(target, settings)
    carry_over(layout, target)
    lines = _protect_all(Job(layout=layout, method=method, settings=settings, target=target), done, workers)
    summary = write_manifest(target, settings, lines, dataset_card(settings, lines))
    (Path(target) / JOURNAL).unlink()
    return summary


def check_source(layout: Layout, settings: Settings) -> None:
    """Refuse a source that would leave a hole in the copy."""
    wanted_categories(settings.targets, layout.classes)
    orphans = layout.orphans()
    if orphans:
        raise DataError(f"{orphans[0]} has no image ({len(orphans)} such masks); add the images or remove the masks")


def check_target(source: str, target: str) -> None:
    """Refuse a target inside the source or the other way round."""
    if storage.is_url(target):
        raise ParameterError(f"{target} is a URL; give a local folder as the target")
    there = Path(target).resolve()
    if not storage.is_url(source):
        here = Path(source).resolve()
        if here == there or here in there.parents or there in here.parents:
            raise ParameterError(f"target {target} and source {source} lie in each other; choose a folder elsewhere")


def _open_journal(target: str, settings: Settings) -> dict[str, Line]:
    """Lines that an earlier run finished; a new journal if the target is empty."""
    folder, journal = Path(target), Path(target) / JOURNAL
    if (folder / SUMMARY).exists() and not journal.exists():
        raise ParameterError(f"{target} holds a finished copy already; use --overwrite to replace it")
    header = to_json(asdict(settings))
    if journal.exists():
        first, *rest = journal.read_text(encoding="utf-8").split("\n")
        if first != header:
            raise ManifestError(f"{target} holds an unfinished run with other settings; use --overwrite to start again")
        return _finished(folder, rest[:-1])
    if folder.exists() and any(folder.iterdir()):
        raise ParameterError(f"{target} is not empty; choose another folder or use --overwrite")
    storage.write_file(str(journal), (header + "\n").encode())
    return {}


def _finished(folder: Path, texts: list[str]) -> dict[str, Line]:
    lines = [line_from(json.loads(text), str(folder / JOURNAL)) for text in texts]
    return {line.id: line for line in lines if line.output is None or (folder / line.output).exists()}


def carry_over(layout: Layout, target: str) -> None:
    """Copy every file that is not a sample's image, unchanged. What is there already is left."""
    images = {sample.image for sample in layout.samples()}
    for path in storage.list_files(layout.root):
        if path not in images and path not in OWN_FILES and not storage.exists(storage.join(target, path)):
            storage.copy_file(storage.join(layout.root, path), storage.join(target, path))


def _protect_all(job: Job, done: dict[str, Line], workers: int) -> list[Line]:
    samples = list(job.layout.samples())
    todo = [sample for sample in samples if sample.id not in done]
    lines = dict(done)
    journal = Path(job.target) / JOURNAL
    with journal.open("a", encoding="utf-8") as file, progress(f"protect {job.method.name}", len(todo)) as advance:
        for line in _in_order(job, iter(todo), workers):
            file.write(to_json(asdict(line)) + "\n")
            file.flush()
            lines[line.id] = line
            advance(1)
    return [lines[sample.id] for sample in samples]


def _in_order(job: Job, samples: Iterator[Sample], workers: int) -> Iterator[Line]:
    """Results in the order of the samples, with at most 2 * workers images in memory."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Line]] = deque()
        try:
            for sample in itertools.islice(samples, 2 * workers):
                waiting.append(pool.submit(protect_sample, job, sample))
            while waiting:
                yield waiting.popleft().result()
                for sample in itertools.islice(samples, 1):
                    waiting.append(pool.submit(protect_sample, job, sample))
        finally:
            pool.shutdown(cancel_futures=True)
