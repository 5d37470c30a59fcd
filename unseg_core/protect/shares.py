"""Sharing a data set out in spans of consecutive images, to processes that each open it for themselves."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample
from unseg_core.params import RuntimeParams
from unseg_core.protect.manifest import Settings
from unseg_core.protect.methods import Method, MethodOptions, build_method, prepare_for
from unseg_core.protect.pipeline import Parallel, Task
from unseg_core.protect.writer import Job

SPAN = 64
"""Images: small enough that processes end together, large enough that asking for work costs nothing."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a process builds the method, since a network is not sent around."""

    name: str
    options: MethodOptions

    @classmethod
    def of(cls, settings: Settings, *, generator: Path | None, device: str) -> Recipe:
        """As a copy with these settings is made; their `generator_sha256` is of `generator`."""
        options = MethodOptions(
            seed=settings.seed,
            prompt=settings.prompt,
            class_order=settings.class_order,
            cycles=settings.cycles,
            generator=generator,
            device=device,
            precision=settings.precision,
        )
        return cls(name=settings.method, options=options)

    def build(self, device: str) -> Method:
        """On `device`: cpu, cuda, cuda:1, ...

        In a thread that ends: OpenMP's threads belong to the one that used them, and while more of them live than there
        are cores, even idle ones, they stop spinning when they wait, which costs the network a quarter of its speed.
        """
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(build_method, self.name, replace(self.options, device=device)).result()


@dataclass(frozen=True, kw_only=True)
class Work:
    """All that another process needs to protect spans."""

    job: Job
    recipe: Recipe
    parallel: Parallel
    threads: int
    """Of torch."""

    def method(self, device: str) -> Method:
        """Sets up the device as the first process has done, and builds the method on it."""
        kind = "cuda" if device.startswith("cuda") else "cpu"
        prepare_for(self.recipe.name, RuntimeParams(device=kind, threads=self.threads))  # type: ignore[arg-type]
        return self.recipe.build(device)


def spans_of(tasks: Iterable[Task], size: int = SPAN) -> Iterator[range]:
    """Runs of consecutive indices, at most `size` long."""
    start = stop = -1
    for index, _ in tasks:
        if index != stop or stop - start >= size:
            if stop > start:
                yield range(start, stop)
            start = index
        stop = index + 1
    if stop > start:
        yield range(start, stop)


class Cursor:
    """Finds the samples of spans in one pass over the data set, as long as the spans rise."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.position = 0
        self.samples: Iterator[Sample] = layout.samples()

    def tasks(self, span: range) -> Iterator[Task]:
        if span.start < self.position:
            self.position, self.samples = 0, self.layout.samples()
        chosen = itertools.islice(self.samples, span.start - self.position, span.stop - self.position)
        self.position = span.stop
        yield from zip(span, chosen, strict=True)
