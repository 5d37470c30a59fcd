"""Methods by name. Adding one is one file and one line in METHODS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from unseg_core.data.sample import Target
from unseg_core.device import Precision
from unseg_core.errors import ParameterError
from unseg_core.model.weights import load_generator
from unseg_core.protect.methods.uniform import UniformNoise
from unseg_core.protect.methods.unseg import UnsegNoise


class Method(Protocol):
    """Makes noise; the budget is applied to it in one place (`model.budget.add_noise`)."""

    @property
    def name(self) -> str: ...

    def noise(self, image_HWC: np.ndarray, target: Target, image_id: str) -> np.ndarray:
        """float32 3xHxW in [-1, 1] for uint8 HxWx3 and what is protected in it; depends on nothing else."""
        ...


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
    generator = load_generator(options.generator).to(torch.device(options.device))
    return UnsegNoise(generator=generator, prompt=options.prompt, seed=options.seed, precision=options.precision)


def _uniform(options: MethodOptions) -> Method:
    return UniformNoise(seed=options.seed)


METHODS: dict[str, Callable[[MethodOptions], Method]] = {"unseg": _unseg, "uniform": _uniform}


def build_method(name: str, options: MethodOptions) -> Method:
    """Raises ParameterError for an unknown name."""
    if name not in METHODS:
        raise ParameterError(f"method {name!r} is unknown; choose one of {', '.join(METHODS)}")
    return METHODS[name](options)
