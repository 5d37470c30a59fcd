"""Variants side by side: each lives in a process of its own, and they take turns, so that a noisy machine is fair."""

from __future__ import annotations

import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

Work = Callable[[], np.ndarray]
"""One unit of work; what it returns is compared between the variants."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one variant."""

    seconds: list[float]
    peak_mb: float
    """Resident memory of the process on a CPU, allocated memory on a GPU."""
    result: np.ndarray

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def run_rounds(builders: Mapping[str, Callable[[], Work]], rounds: int, clock: str = "wall") -> dict[str, Measured]:
    """Build every variant in its own process, warm it up once, then let them take turns.

    Args:
        clock: "wall", or "process": the processor's time, which a machine shared with others hardly changes as long as
            the work has one thread.
    """
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for name, build in builders.items():
        pipes[name], theirs = context.Pipe()
        context.Process(target=_serve, args=(build, theirs, clock), daemon=True).start()
        theirs.close()
    for name, pipe in pipes.items():
        pipe.recv()
        print(f"  {name} is ready", flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in builders}
    for number in range(rounds):
        for name, pipe in pipes.items():
            pipe.send(True)
            seconds[name].append(pipe.recv())
        print(f"  round {number + 1}: " + ", ".join(f"{n} {s[-1]:.2f} s" for n, s in seconds.items()), flush=True)
    for pipe in pipes.values():
        pipe.send(False)
    rest = {name: pipe.recv() for name, pipe in pipes.items()}
    return {n: Measured(seconds=seconds[n], peak_mb=rest[n][0], result=rest[n][1]) for n in builders}


def _serve(build: Callable[[], Work], pipe: Connection, clock: str) -> None:
    now = time.process_time if clock == "process" else time.perf_counter
    work = build()
    result = work()
    pipe.send(True)
    while pipe.recv():
        start = now()
        result = work()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        pipe.send(now() - start)
    if torch.cuda.is_initialized():
        peak = torch.cuda.max_memory_allocated() / 1e6
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    pipe.send((peak, result))


def matmul_peak(device: str, threads: int, dtype: torch.dtype) -> Work:
    """A product of large matrices; its time gives the device's peak (`PEAK_FLOP` per run)."""
    torch.set_num_threads(threads)
    side = _peak_side(device)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)

    def work() -> np.ndarray:
        torch.mm(left, right, out=out)
        return np.zeros(1)

    return work


def _peak_side(device: str) -> int:
    return 2048 if device == "cpu" else 16_384


def peak_flops(device: str, seconds: list[float]) -> float:
    """Operations per second of the fastest run of `matmul_peak`."""
    return 2.0 * _peak_side(device) ** 3 / min(seconds)


def machine(device: str, threads: int) -> str:
    """One line on what was measured on."""
    if device != "cpu":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{model}, {capability}, {threads} threads, torch {torch.__version__}"
