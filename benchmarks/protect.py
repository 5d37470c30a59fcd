"""The protection engine: `python -m benchmarks.protect network|small|processes|engine|overhead`, each part alone.

    network     end to end with a generator against its network alone (the goal: at least 95 %)
    small       images of 500 pixels a second end to end as PNG, with the size `small`
    processes   two processes against one, each on one core
    engine      seconds per thousand tiny images and peak memory, for growing data sets
    overhead    milliseconds an image that are neither network nor noise: tiny PNG images

Every measurement runs in a process of its own, since memory is measured too, on data made for it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.rounds import machine
from unseg_core.data.layouts import open_layout
from unseg_core.device import prepare_device
from unseg_core.model.generator import Generator
from unseg_core.model.sizes import SIZES
from unseg_core.model.weights import initialise, save_weights
from unseg_core.params import DatasetParams, ProtectParams, RuntimeParams
from unseg_core.protect.engine import Engine, protect_with
from unseg_core.protect.execution import Execution, choose_engine, parallel_of
from unseg_core.protect.journal import Journal
from unseg_core.protect.manifest import Settings
from unseg_core.protect.methods import MethodOptions
from unseg_core.protect.pipeline import Parallel, Task
from unseg_core.protect.process_engine import Processes
from unseg_core.protect.shares import Recipe
from unseg_core.protect.writer import Job, Prepared, prepare, read_image

DIFFERENT = 24
"""Images that differ; a data set repeats them under other names, as links that need no room."""


def write_data(root: Path, count: int, width: int, height: int) -> Path:
    """A folder of photograph-like images (smooth, with grain) and a mask each."""
    rng = np.random.Generator(np.random.PCG64(0))
    originals = root.with_name(f"{root.name}-originals")
    for folder in (root / "images", root / "masks", originals):
        folder.mkdir(parents=True)
    rows, columns = np.mgrid[:height, :width]
    for i in range(min(count, DIFFERENT)):
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
        pixels = (smooth + rng.integers(-4, 5, smooth.shape)).clip(0, 255).astype(np.uint8)
        mask = ((rows - height / 2) ** 2 + (columns - width * rng.random()) ** 2 < (height / 3) ** 2) * np.uint8(255)
        Image.fromarray(pixels).save(originals / f"image {i}.png")
        Image.fromarray(mask.astype(np.uint8)).save(originals / f"mask {i}.png")
    for i in range(count):
        for kind in ("image", "mask"):
            os.link(originals / f"{kind} {i % DIFFERENT}.png", root / f"{kind}s" / f"{i:07d}.png")
    return root


def settings(method: str) -> Settings:
    dataset = DatasetParams(layout="folder", classes=("object",))
    return Settings.of(dataset, ProtectParams(), method=method, generator_sha256=None, precision="fp32")


def recipe_of(size: str | None, folder: Path, device: str, precision: str) -> Recipe:
    if size is None:
        return Recipe(name="uniform", options=MethodOptions())
    path = folder / f"{size}.safetensors"
    if not path.exists():
        save_weights(initialise(Generator, SIZES[size], 0), path, kind="generator", provenance={})
    options = MethodOptions(generator=path, device=device, precision=precision)  # type: ignore[arg-type]
    return Recipe(name="unseg", options=options)


def end_to_end(source: Path, target: Path, recipe: Recipe, how: Execution, device: str) -> float:
    """Seconds from the first image to the end of the manifest, with the method built before."""
    prepare_device(RuntimeParams(device=device, threads=how.threads))  # type: ignore[arg-type]
    layout = open_layout("folder", str(source), classes=("object",))
    engine = choose_engine(recipe, how, device)
    start = time.perf_counter()
    protect_with(engine, layout, settings(recipe.name), str(target))
    return time.perf_counter() - start


@dataclass(kw_only=True)
class Timed:
    """An engine, and when its images were finished."""

    engine: Engine
    moments: list[float] = field(default_factory=list)

    @property
    def workers(self) -> int:
        return self.engine.workers

    def run(self, job: Job, journal: Journal, tasks: Iterator[Task], advance: Callable[[int], None]) -> None:
        self.engine.run(job, journal, tasks, lambda number: self.moments.append(time.perf_counter()))

    def seconds(self) -> float:
        """From the first image to the last, as if the first had taken as long as the others."""
        count = len(self.moments)
        return (self.moments[-1] - self.moments[0]) * count / (count - 1)


def end_to_end_warm(source: Path, target: Path, recipe: Recipe, how: Execution, device: str) -> float:
    """Seconds of all images without what only the first one costs: memory that is touched for the first time."""
    prepare_device(RuntimeParams(device=device, threads=how.threads))  # type: ignore[arg-type]
    timed = Timed(engine=choose_engine(recipe, how, device))
    protect_with(timed, open_layout("folder", str(source), classes=("object",)), settings(recipe.name), str(target))
    return timed.seconds()


def network_alone(source: Path, target: Path, recipe: Recipe, how: Execution, device: str) -> float:
    """Seconds of the method for the same images, decoded before."""
    prepare_device(RuntimeParams(device=device, threads=how.threads))  # type: ignore[arg-type]
    layout = open_layout("folder", str(source), classes=("object",))
    job = Job(layout=layout, settings=settings(recipe.name), target="", is_trial=True)
    tasks: list[Task] = list(enumerate(layout.samples()))
    method, few = recipe.build(device), [_prepared(job, task) for task in tasks[:DIFFERENT]]
    batch = parallel_of(recipe, how, device).batch_size
    method.noises(*_columns(few[:batch]))
    start = time.perf_counter()
    for first in range(0, len(tasks), batch):
        chosen = [few[i % len(few)] for i in range(first, min(first + batch, len(tasks)))]
        method.noises(*_columns(chosen))
    return time.perf_counter() - start


def _prepared(job: Job, task: Task) -> Prepared:
    found = prepare(job, task[1], read_image(job, task[1]))
    assert isinstance(found, Prepared)
    return found


def _columns(prepared: list[Prepared]) -> tuple[list[Any], list[Any], list[str]]:
    images = [one.picture.pixels for one in prepared]
    return images, [one.target for one in prepared], [one.sample.id for one in prepared]


@dataclass(frozen=True, kw_only=True)
class Measured:
    seconds: float
    processor_seconds: float
    """Of all cores and of the whole process: on a machine that others use, too, it is what can be compared."""
    peak_mb: float
    """Resident memory."""


def measured(work: Callable[..., float], *arguments: Any) -> Measured:
    """What `work` takes in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, arguments, theirs))
    process.start()
    theirs.close()
    found: Measured = ours.recv()
    process.join()
    return found


def _serve(work: Callable[..., float], arguments: tuple[Any, ...], pipe: Any) -> None:
    before = time.process_time()
    with contextlib.redirect_stderr(io.StringIO()):
        seconds = work(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    pipe.send(Measured(seconds=seconds, processor_seconds=time.process_time() - before, peak_mb=peak))


def run_network(given: argparse.Namespace, folder: Path) -> None:
    source = write_data(folder / "data", given.images, given.side, given.side * 3 // 4)
    recipe = recipe_of(given.size, folder, given.device, given.precision)
    how = Execution(threads=given.threads, workers=given.workers, batch_size=given.batch, processes=1)
    shares = []
    for number in range(given.rounds):
        alone = measured(network_alone, source, folder, recipe, how, given.device)
        whole = measured(end_to_end_warm, source, folder / f"copy-{number}", recipe, how, given.device)
        shares.append(alone.seconds / whole.seconds)
        print(
            f"{given.size}: network alone {given.images / alone.seconds:.2f} images/s, end to end "
            f"{given.images / whole.seconds:.2f}: {100 * shares[-1]:.1f} % (processor seconds "
            f"{alone.processor_seconds:.1f} of {whole.processor_seconds:.1f}), peak {whole.peak_mb:.0f} MB",
            flush=True,
        )
    print(f"median {100 * float(np.median(shares)):.1f} %")


def run_small(given: argparse.Namespace, folder: Path) -> None:
    source = write_data(folder / "data", given.images, 500, 375)
    recipe = recipe_of("small", folder, given.device, given.precision)
    how = Execution(threads=given.threads, workers=given.workers, batch_size=given.batch, processes=1)
    for number in range(given.rounds):
        found = measured(end_to_end, source, folder / f"copy-{number}", recipe, how, given.device)
        print(
            f"small, 500 x 375, PNG: {given.images / found.seconds:.2f} images/s, "
            f"{1000 * found.processor_seconds / given.images:.0f} ms of processor each, peak {found.peak_mb:.0f} MB",
            flush=True,
        )


def run_processes(given: argparse.Namespace, folder: Path) -> None:
    source = write_data(folder / "data", given.images, 500, 375)
    recipe = recipe_of(given.size if given.size != "uniform" else None, folder, "cpu", given.precision)
    for number in range(given.rounds):
        # One core each: one thread decodes and encodes, and torch has one.
        seconds = {
            count: measured(_one_core_each, source, folder / f"copy-{number}-{count}", recipe, count).seconds
            for count in (1, 2)
        }
        rates = {count: given.images / taken for count, taken in seconds.items()}
        print(f"1 process {rates[1]:.2f} images/s, 2 processes {rates[2]:.2f}: {rates[2] / rates[1]:.2f} x", flush=True)


def _one_core_each(source: Path, target: Path, recipe: Recipe, count: int) -> float:
    """Seconds of a team of `count` processes from its first image to its last, so that starting it is left out."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    layout = open_layout("folder", str(source), classes=("object",))
    team = Timed(engine=Processes(recipe=recipe, parallel=Parallel(workers=1), devices=("cpu",) * count, threads=1))
    protect_with(team, layout, settings(recipe.name), str(target))
    return team.seconds()


def run_engine(given: argparse.Namespace, folder: Path) -> None:
    for count in given.counts:
        source = write_data(folder / f"data-{count}", count, 32, 24)
        how = Execution(threads=1, workers=given.workers, processes=1)
        recipe = recipe_of(None, folder, "cpu", "fp32")
        found = measured(end_to_end, source, folder / f"copy-{count}", recipe, how, "cpu")
        print(
            f"{count:7d} images: {found.seconds:.1f} s, per thousand {1000 * found.seconds / count:.2f} s and "
            f"{1000 * found.processor_seconds / count:.2f} s of processor, peak {found.peak_mb:.0f} MB",
            flush=True,
        )


def run_overhead(given: argparse.Namespace, folder: Path) -> None:
    source = write_data(folder / "data", given.images, 32, 24)
    recipe, how = recipe_of(None, folder, "cpu", "fp32"), Execution(threads=1, workers=given.workers, processes=1)
    for number in range(given.rounds):
        noise = measured(network_alone, source, folder, recipe, how, "cpu")
        whole = measured(end_to_end, source, folder / f"copy-{number}", recipe, how, "cpu")
        each = 1000 * (whole.seconds - noise.seconds) / given.images
        used = 1000 * (whole.processor_seconds - noise.processor_seconds) / given.images
        print(f"{each:.2f} ms an image beside the noise, {used:.2f} ms of processor", flush=True)


PARTS = {
    "network": run_network,
    "small": run_small,
    "processes": run_processes,
    "engine": run_engine,
    "overhead": run_overhead,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", default="vit_b", choices=[*SIZES, "uniform"])
    parser.add_argument("--side", type=int, default=500, help="width of the images of `network`")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 50_000])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(machine(given.device, given.threads), flush=True)
    with tempfile.TemporaryDirectory(prefix="unseg-benchmark-") as folder:
        PARTS[given.part](given, Path(folder))


if __name__ == "__main__":
    main()
