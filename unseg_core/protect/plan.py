"""What a run would do, without writing anything: counts and bytes of all files, the rest measured on a few images."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample
from unseg_core.errors import DataError
from unseg_core.protect.execution import Execution, parallel_of
from unseg_core.protect.manifest import OWN_FILES, Line, Settings
from unseg_core.protect.methods import Method
from unseg_core.protect.other_pictures import OtherPictures
from unseg_core.protect.pipeline import Parallel, has_network, noises_of
from unseg_core.protect.shares import Recipe
from unseg_core.protect.survey import survey
from unseg_core.protect.writer import Job, Prepared, encode, failed_line, prepare, read_image

MEASURED = 8


@dataclass
class _Measured:
    """Of a few images."""

    statuses: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    """Images in which a class is protected."""
    source_bytes: int = 0
    output_bytes: int = 0
    network_seconds: float = 0.0
    other_seconds: float = 0.0

    @property
    def count(self) -> int:
        return self.statuses.total()


def plan_run(layout: Layout, recipe: Recipe, settings: Settings, how: Execution, device: str) -> dict[str, Any]:
    """Counts, bytes and classes of a run, and how long it takes in one process on this machine.

    Returns:
        `images`, `bytes` (of the images), `carried_files`, `carried_bytes`, `other_pictures` (among them), `clashes`,
        `settings`, and `measured`: of evenly spread images how many of each `status` and with each class. From them
        `output_bytes` and `seconds`.
    """
    method, parallel = recipe.build(device), parallel_of(recipe, how, device)
    found, others = survey(layout, settings), OtherPictures.of(layout)
    sizes = {True: [0, 0], False: [0, 0]}
    for path, size in storage.list_sizes(layout.root):
        if path in OWN_FILES:
            continue
        if not (is_image := path in found.images):
            others.see(path)
        sizes[is_image][0] += 1
        sizes[is_image][1] += size
    job = Job(layout=layout, settings=settings, target="", clashes=found.clashes, is_trial=True)
    measured = _measure(job, method, found.count)
    return {
        "images": found.count,
        "bytes": sizes[True][1],
        "carried_files": sizes[False][0],
        "carried_bytes": sizes[False][1],
        "other_pictures": others.summary(),
        "clashes": len(found.clashes),
        "output_bytes": round(sizes[True][1] * measured.output_bytes / max(measured.source_bytes, 1)),
        "seconds": round(_seconds(measured, method, parallel) * found.count, 3),
        "measured": {
            "images": measured.count,
            "statuses": dict(sorted(measured.statuses.items())),
            "classes": dict(sorted(measured.classes.items())),
        },
        "settings": asdict(settings),
    }


def _seconds(measured: _Measured, method: Method, parallel: Parallel) -> float:
    """Of an image: the network and everything else overlap."""
    if not measured.count:
        return 0.0
    others = measured.other_seconds / parallel.workers
    whole = max(measured.network_seconds, others) if has_network(method) else others
    return whole / measured.count


def _measure(job: Job, method: Method, count: int) -> _Measured:
    measured, wanted = _Measured(), {i * count // MEASURED for i in range(MEASURED)}
    for index, sample in enumerate(job.layout.samples()):
        if index not in wanted:
            continue
        if not measured.count:
            # What runs for the first time takes longer.
            _measure_one(job, method, sample, _Measured())
        _measure_one(job, method, sample, measured)
    return measured


def _measure_one(job: Job, method: Method, sample: Sample, measured: _Measured) -> None:
    start = time.perf_counter()
    try:
        data = read_image(job, sample)
    except DataError as error:
        measured.statuses[failed_line(job.settings, sample, error).status] += 1
        return
    measured.source_bytes += len(data)
    prepared = prepare(job, sample, data)
    if isinstance(prepared, Line):
        measured.statuses[prepared.status] += 1
        measured.output_bytes += len(data) if prepared.output else 0
        measured.other_seconds += time.perf_counter() - start
        return
    measured.other_seconds += time.perf_counter() - start
    _measure_noise(job, method, prepared, measured)


def _measure_noise(job: Job, method: Method, prepared: Prepared, measured: _Measured) -> None:
    start = time.perf_counter()
    (noise,) = noises_of(method, [prepared])
    between = time.perf_counter()
    try:
        data, line = encode(job.settings, prepared, noise)
    except (DataError, OSError, ValueError) as error:
        measured.statuses[failed_line(job.settings, prepared.sample, error).status] += 1
        return
    took = between - start
    measured.network_seconds += took if has_network(method) else 0.0
    measured.other_seconds += time.perf_counter() - between + (0.0 if has_network(method) else took)
    measured.output_bytes += len(data)
    measured.statuses[line.status] += 1
    names = job.layout.classes
    for category in {segment.category for segment in prepared.target.segments}:
        measured.classes[names[category - 1] if 0 < category <= len(names) else str(category)] += 1
