"""Images per second that the training data side delivers, beside what a training step uses up.

    python benchmarks/loader.py DATA --size vit_b --workers 2      # DATA: a folder of images with masks
    python benchmarks/loader.py DATA --size vit_b --device cuda --batch 4 --workers 8

The loader runs alone, with as many worker processes as given; the step runs alone, on loaded images. Both in one run.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.rounds import machine
from unseg_core.data.layouts import open_layout
from unseg_core.device import Precision
from unseg_core.memory import keep_freed_memory
from unseg_core.model.generator import Generator
from unseg_core.model.sizes import SIZES
from unseg_core.model.surrogate import Surrogate
from unseg_core.model.weights import initialise
from unseg_core.params import TrainParams
from unseg_core.train.dataset import TrainDataset, TrainSource, list_samples
from unseg_core.train.loader import load_parts
from unseg_core.train.loop import Run, make_players
from unseg_core.train.plan import Plan, plan_training
from unseg_core.train.processes import Processes
from unseg_core.train.schedule import Schedule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--size", default="vit_b", choices=list(SIZES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--images", type=int, default=100, help="to load, after the workers' start")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    params = TrainParams(batch_size=options.batch, epochs=1000)
    samples = list_samples([TrainSource(name=root, layout=open_layout("auto", root)) for root in options.data])
    loaded = load_rate(samples, options.size, params, options.workers, options.images)
    plan = measure_step(samples, options.size, params, options.device, options.precision)
    fastest = min(plan.surrogate_step_seconds, plan.generator_step_seconds)
    used = options.batch / fastest
    print(f"{options.size}, {options.precision}, {machine(options.device, options.threads)}")
    print(f"loader, {options.workers} workers: {loaded:.2f} images/s")
    print(f"faster of both steps, batch {options.batch}: {used:.2f} images/s")
    print(f"loader / step: {loaded / used:.1f}")


def load_rate(samples: list, size: str, params: TrainParams, workers: int, images: int) -> float:  # type: ignore[type-arg]
    """Images per second from the first batch on."""
    dataset = TrainDataset(samples, SIZES[size], params)
    schedule = Schedule(samples=len(samples), params=params)
    parts = load_parts(dataset, schedule, 0, Processes(), workers)
    next(parts)
    start, done = time.perf_counter(), 0
    while done < images:
        part = next(parts)
        done += len(part.ids)
    return done / (time.perf_counter() - start)


def measure_step(samples: list, size: str, params: TrainParams, device: str, precision: Precision) -> Plan:  # type: ignore[type-arg]
    networks = initialise(Generator, SIZES[size], 0), initialise(Surrogate, SIZES[size], 1)
    players = make_players(*networks, params, torch.device(device))
    return plan_training(Run(players=players, samples=samples, params=params, work=Path("unused"), precision=precision))


if __name__ == "__main__":
    main()
