"""Choosing and setting up the device: the one place that sets torch's global switches."""

from __future__ import annotations

import ctypes

import torch

from unseg_core.errors import ParameterError
from unseg_core.params import RuntimeParams

# mallopt's numbers (malloc.h of glibc).
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
KEPT_BYTES = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc hand out freed memory again instead of returning it to the system and faulting it in anew.

    The page faults were half the time of SAM's ViT-B on two cores (benchmarks/generator.py). Other C libraries have
    no `mallopt` and are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def prepare_device(params: RuntimeParams) -> torch.device:
    """The device to work on, with torch set to deterministic kernels and a fixed number of CPU threads.

    Raises:
        ParameterError: CUDA was asked for and there is none.
    """
    torch.set_num_threads(params.threads)
    keep_freed_memory()
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if params.device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("runtime.device is cuda but torch finds no CUDA device; use auto or cpu")
    cuda = params.device == "cuda" or (params.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")
