"""Choosing and setting up the device and its precision: the one place that sets torch's global switches."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from typing import Literal

import torch

from unseg_core.errors import ParameterError
from unseg_core.memory import keep_freed_memory
from unseg_core.params import RuntimeParams

Precision = Literal["fp32", "bf16"]


def choose_precision(wanted: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
    """What to compute in; `auto` is bf16 on devices with instructions for it, else fp32."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Newer than the oldest torch that we run on.
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    if wanted == "bf16" and not fast:
        warnings.warn("runtime.precision is bf16, which this device only emulates; fp32 is faster here", stacklevel=2)
    return wanted if wanted != "auto" else "bf16" if fast else "fp32"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Run the networks inside this; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)


def prepare_device(params: RuntimeParams) -> torch.device:
    """The device to work on, with torch set to deterministic kernels and a fixed number of CPU threads.

    Raises:
        ParameterError: CUDA was asked for and there is none.
    """
    torch.set_num_threads(params.threads)
    keep_freed_memory()
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # fp32 means float32; TF32 convolutions are torch's default.
    torch.backends.cudnn.allow_tf32 = False
    if params.device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("runtime.device is cuda but torch finds no CUDA device; use auto or cpu")
    cuda = params.device == "cuda" or (params.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")
