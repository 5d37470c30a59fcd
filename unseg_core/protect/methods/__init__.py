"""Methods by name. Adding one is one file and one line in METHODS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from unseg_core.device import Precision
from unseg_core.errors import ParameterError
from unseg_core.protect.methods.autoregressive import AutoregressiveNoise
from unseg_core.protect.methods.convolution import ConvolutionNoise
from unseg_core.protect.methods.grating import GratingNoise
from unseg_core.protect.methods.method import Method
from unseg_core.protect.methods.synper import SynPerNoise
from unseg_core.protect.methods.uniform import UniformNoise

__all__ = ["METHODS", "Method", "MethodOptions", "build_method"]


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """What a method may need to be built."""

    seed: int = 0
    prompt: str = "mask"
    generator: Path | None = None
    device: str = "cpu"
    precision: Precision = "fp32"


def _unseg(options: MethodOptions) -> Method:
    if options.generator is None:
        raise ParameterError("method 'unseg' needs a generator; name its file (--generator PATH)")
    # The baselines need no network.
    from unseg_core.model.weights import load_generator
    from unseg_core.protect.methods.unseg import UnsegNoise

    generator = load_generator(options.generator).to(torch.device(options.device))
    return UnsegNoise(generator=generator, prompt=options.prompt, seed=options.seed, precision=options.precision)


METHODS: dict[str, Callable[[MethodOptions], Method]] = {
    "unseg": _unseg,
    "grating": lambda options: GratingNoise(seed=options.seed),
    "uniform": lambda options: UniformNoise(seed=options.seed),
    "synper": lambda options: SynPerNoise(seed=options.seed),
    "ar": lambda options: AutoregressiveNoise(seed=options.seed),
    "cuda": lambda options: ConvolutionNoise(seed=options.seed),
}


def build_method(name: str, options: MethodOptions) -> Method:
    """Raises ParameterError for an unknown name."""
    if name not in METHODS:
        raise ParameterError(f"method {name!r} is unknown; choose one of {', '.join(METHODS)}")
    return METHODS[name](options)
