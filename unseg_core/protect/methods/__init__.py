"""Methods by name. Adding one is one file and one line in METHODS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unseg_core.errors import ParameterError
from unseg_core.memory import keep_freed_memory
from unseg_core.protect.methods.autoregressive import AutoregressiveNoise
from unseg_core.protect.methods.grating import BY_CLASS, COLOUR, DUAL, GratingNoise
from unseg_core.protect.methods.method import Method
from unseg_core.protect.methods.synper import SynPerNoise
from unseg_core.protect.methods.uniform import UniformNoise
from unseg_core.stripes import CYCLES

if TYPE_CHECKING:
    from unseg_core.device import Precision
    from unseg_core.params import RuntimeParams

__all__ = ["METHODS", "WITH_TORCH", "Method", "MethodOptions", "build_method", "prepare_for"]


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """What a method may need to be built."""

    seed: int = 0
    prompt: str = "mask"
    class_order: tuple[int, ...] = ()
    """Numbers of classes, those that cover most first, for methods with few kinds of noise; empty: by number."""
    cycles: int = CYCLES
    """Of stripes of colours, per longer side of the image, for methods whose stripes are the same for all classes."""
    generator: Path | None = None
    device: str = "cpu"
    precision: Precision = "fp32"


def _unseg(options: MethodOptions) -> Method:
    if options.generator is None:
        raise ParameterError("method 'unseg' needs a generator; name its file (--generator PATH)")
    import torch

    from unseg_core.model.noise_filters import InUse
    from unseg_core.model.weights import load_generator
    from unseg_core.protect.methods.unseg import UnsegNoise

    generator = load_generator(options.generator).to(torch.device(options.device))
    return UnsegNoise(
        generator=generator,
        prompt=options.prompt,
        seed=options.seed,
        precision=options.precision,
        use=InUse(cycles=options.cycles),
    )


def _cuda(options: MethodOptions) -> Method:
    from unseg_core.protect.methods.convolution import ConvolutionNoise

    return ConvolutionNoise(seed=options.seed)


def _class_grating(options: MethodOptions) -> Method:
    return GratingNoise(seed=options.seed, name="class-grating", kinds=BY_CLASS, class_order=options.class_order)


METHODS: dict[str, Callable[[MethodOptions], Method]] = {
    "unseg": _unseg,
    "grating": lambda options: GratingNoise(seed=options.seed, kinds=COLOUR.with_cycles(options.cycles)),
    "class-grating": _class_grating,
    "dual-grating": lambda options: GratingNoise(seed=options.seed, name="dual-grating", kinds=DUAL),
    "uniform": lambda options: UniformNoise(seed=options.seed),
    "synper": lambda options: SynPerNoise(seed=options.seed),
    "ar": lambda options: AutoregressiveNoise(seed=options.seed),
    "cuda": _cuda,
}

WITH_TORCH = {"unseg": f"{__name__}.unseg", "cuda": f"{__name__}.convolution"}
"""Their modules. The others do without torch, which takes seconds to load."""


def prepare_for(name: str, runtime: RuntimeParams) -> tuple[str, Precision]:
    """Set this process up for a method; the device and the precision that its network works in.

    Raises:
        ParameterError: CUDA was asked for and there is none.
    """
    if name not in WITH_TORCH:
        keep_freed_memory()
        return "cpu", "fp32"
    from unseg_core.device import choose_precision, prepare_device

    device = prepare_device(runtime)
    return str(device), choose_precision(runtime.precision, device)


def build_method(name: str, options: MethodOptions) -> Method:
    """Raises ParameterError for an unknown name."""
    if name not in METHODS:
        raise ParameterError(f"method {name!r} is unknown; choose one of {', '.join(METHODS)}")
    return METHODS[name](options)
