"""Where a run's work is done: nothing of this changes its bytes in float32."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

from unseg_core.params import ExecutionParams, ProtectParams, check_range
from unseg_core.protect.engine import Engine, InProcess
from unseg_core.protect.methods import WITH_TORCH
from unseg_core.protect.pipeline import Parallel
from unseg_core.protect.shares import Recipe

GPU_BATCH = 8
"""Images of one pass on a GPU, where nothing else is said."""
MOST, FEW = 16, 2
"""Workers of a process, where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Execution(ExecutionParams):
    """How the work is shared out, and what each process has."""

    threads: int = 2
    """Of torch, in each process."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("threads", self.threads, 1, 1024)


def execution_of(params: ProtectParams, *, threads: int) -> Execution:
    """As params.yaml has it."""
    return Execution(**{f.name: getattr(params, f.name) for f in fields(ExecutionParams)}, threads=threads)


def choose_engine(recipe: Recipe, how: Execution, device: str) -> Engine:
    """The engine for a method on `device`, cpu or cuda.

    Raises:
        ParameterError: the method is unknown or lacks a generator.
        WeightsError: the generator cannot be loaded.
    """
    gpu = device.startswith("cuda")
    parallel = parallel_of(recipe, how, device)
    if how.engine == "ray":
        from unseg_core.protect.ray_engine import RayCluster

        return RayCluster(recipe=recipe, parallel=parallel, address=how.ray_address, gpu=gpu, threads=how.threads)
    devices = _devices(how.processes, gpu, device)
    if len(devices) == 1:
        return InProcess(method=recipe.build(devices[0]), parallel=parallel)
    from unseg_core.protect.process_engine import Processes

    return Processes(recipe=recipe, parallel=parallel, devices=devices, threads=how.threads)


def parallel_of(recipe: Recipe, how: Execution, device: str) -> Parallel:
    """How much one process does at a time."""
    gpu = device.startswith("cuda")
    # Beside a network on a CPU, which has threads of its own, and beside other actors of a node, there is room for few.
    many = gpu or (recipe.name not in WITH_TORCH and how.engine == "local")
    workers = _workers(how.processes) if many else FEW
    return Parallel(workers=how.workers or workers, batch_size=how.batch_size or (GPU_BATCH if gpu else 1))


def _workers(processes: int) -> int:
    """This machine's processors shared out."""
    return min(MOST, max(2, (os.cpu_count() or 2) // max(1, processes)))


def _devices(processes: int, gpu: bool, device: str) -> tuple[str, ...]:
    if not gpu:
        return (device,) * max(1, processes)
    import torch

    cards = torch.cuda.device_count()
    return tuple(f"cuda:{i % cards}" for i in range(processes or cards)) if cards > 1 else (device,) * max(1, processes)
