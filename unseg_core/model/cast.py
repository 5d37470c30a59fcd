"""Parameters in bfloat16, cast once instead of at every use, for networks that run without gradients on a CPU."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.weak import WeakTensorKeyDictionary


@dataclass(frozen=True, kw_only=True)
class _Copy:
    """What was made of a parameter, and which state of the parameter it shows."""

    version: int
    address: int
    values: Tensor


# By parameter; a copy lives as long as its parameter.
_Copies = MutableMapping[Tensor, _Copy]
_CAST: _Copies = WeakTensorKeyDictionary()
_PACKED: _Copies = WeakTensorKeyDictionary()


def cast(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """The parameter's values in float32 or bfloat16, without gradient; kept until the parameter changes."""
    if parameter.dtype == dtype:
        return parameter.detach()
    return _kept(_CAST, parameter, lambda values: values.to(dtype))


def linear(module: nn.Linear, values_TC: Tensor) -> Tensor:
    """`module` in the precision of the values."""
    if values_TC.dtype == torch.float32 or not _packs():
        return F.linear(values_TC, cast(module.weight, values_TC.dtype), cast(module.bias, values_TC.dtype))
    # What torch.compile calls for a linear layer. `F.linear` packs the weight and copies the bias into the result at
    # every call, and took 1.3 times as long (one core with AMX, 896 cells of ViT-B).
    weight = _kept(_PACKED, module.weight, lambda values: torch.ops.mkldnn._reorder_linear_weight(values.bfloat16()))
    bias = cast(module.bias, values_TC.dtype)
    out: Tensor = torch.ops.mkldnn._linear_pointwise(values_TC, weight, bias, "none", [], "")
    return out


def _packs() -> bool:
    """False for processors without AVX-512 or AVX_NE_CONVERT, and builds without oneDNN."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch has no type for it
    return available and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def forget(module: nn.Module) -> None:
    """Drop the copies of the module's parameters."""
    for parameter in module.parameters():
        _CAST.pop(parameter, None)
        _PACKED.pop(parameter, None)


def _kept(copies: _Copies, parameter: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
    """`make(parameter)`, kept until the parameter changes.

    A change is seen by the counter that autograd keeps, which every in-place operation raises (optimisers,
    `load_state_dict`), and by the address (`parameter.data = ...`).
    """
    if parameter.is_inference():  # has no counter
        return make(parameter)
    kept = copies.get(parameter)
    version, address = parameter._version, parameter.data_ptr()
    if kept is None or (kept.version, kept.address) != (version, address):
        with torch.inference_mode(False):
            values = make(parameter.detach())
        copies[parameter] = kept = _Copy(version=version, address=address, values=values)
    return kept.values
