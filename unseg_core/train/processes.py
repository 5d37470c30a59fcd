"""One run in several processes (`torchrun`): who we are, and sums over all of them.

Gradients are summed once a step instead of by DistributedDataParallel: a step may have several parts or none in a
process, and the networks take turns in being frozen. Sums rather than means, so that the number of processes changes
nothing but the order of additions.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

REDUCED_VALUES = 2**25
"""Gradients that travel together: 128 MiB of float32."""
TIMEOUT = datetime.timedelta(minutes=30)
"""Others wait for so long while one validates or writes."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among those of the run."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    """Among those of this machine: which of its GPUs."""

    @property
    def first(self) -> bool:
        """True in the one process that writes files and logs."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Sum of a float64 CPU tensor over all processes."""
        if self.count == 1:
            return values
        there = values.to(self._device())
        distributed.all_reduce(there)
        return there.cpu()

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Give each process the sum of all gradients; a parameter without one anywhere keeps none."""
        if self.count == 1:
            return
        present = self.sum(torch.tensor([float(p.grad is not None) for p in parameters], dtype=torch.float64))
        used = [p for p, number in zip(parameters, present.tolist(), strict=True) if number]
        for some in _in_portions(used):
            flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in some])
            distributed.all_reduce(flat)
            for parameter, total in zip(some, torch.split(flat, [p.numel() for p in some]), strict=True):
                parameter.grad = total.view_as(parameter)

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in order of rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            distributed.barrier()

    def _device(self) -> torch.device:
        return torch.device("cuda", self.local_rank) if distributed.get_backend() == "nccl" else torch.device("cpu")


def _in_portions(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    some: list[Tensor] = []
    for parameter in parameters:
        if some and sum(p.numel() for p in some) + parameter.numel() > REDUCED_VALUES:
            yield some
            some = []
        some.append(parameter)
    if some:
        yield some


def processes_from(environment: Mapping[str, str]) -> Processes:
    """Who this process is by the variables that `torchrun` sets; alone without them."""
    if (
        environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        and environment.get("TORCHELASTIC_MAX_RESTARTS") != "0"
    ):
        warnings.warn(
            "torchrun keeps the addresses of lost processes, so that a restart may hang; "
            "start it with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1",
            stacklevel=2,
        )
    return Processes(
        rank=int(environment.get("RANK", 0)),
        count=int(environment.get("WORLD_SIZE", 1)),
        local_rank=int(environment.get("LOCAL_RANK", 0)),
    )


def join_processes(processes: Processes, device: torch.device) -> torch.device:
    """Connect to the others, if there are any, through torch's `env://`; returns this process's own device."""
    if device.type == "cuda":
        device = torch.device("cuda", processes.local_rank)
        torch.cuda.set_device(device)
    if processes.count > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    return device


def leave_processes() -> None:
    """Disconnect, if connected."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
