"""Section `runtime`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unseg_core.params.checks import check_range


@dataclass(frozen=True, kw_only=True)
class RuntimeParams:
    """Where and how the work runs. These change results only in the last bits."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where there is a device."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Of the generator and the surrogate. `bf16` moves noise by up to 4e-2; `auto` takes it where the device is built
    for it."""
    threads: int = 2
    """CPU threads of one process. Fixed, because sums in another order give other last bits."""
    workers: int = 0
    """Processes that read and augment training images beside each training process; 0: that one does it itself."""
    processes: int = 1
    """Training processes on this machine; 0: one for each GPU. For several machines start `torchrun` yourself."""

    def __post_init__(self) -> None:
        check_range("runtime.threads", self.threads, 1, 1024)
        check_range("runtime.workers", self.workers, 0, 256)
        check_range("runtime.processes", self.processes, 0, 1024)
