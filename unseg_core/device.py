"""Choosing and setting up the device: the one place that sets torch's global switches."""

from __future__ import annotations

import torch

from unseg_core.errors import ParameterError
from unseg_core.params import RuntimeParams


def prepare_device(params: RuntimeParams) -> torch.device:
    """The device to work on, with torch set to deterministic kernels and a fixed number of CPU threads.

    Raises:
        ParameterError: CUDA was asked for and there is none.
    """
    torch.set_num_threads(params.threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if params.device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("runtime.device is cuda but torch finds no CUDA device; use auto or cpu")
    cuda = params.device == "cuda" or (params.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")
