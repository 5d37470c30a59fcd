"""Weights from files, of which the parts that depend on the classes may not fit."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unseg_core.errors import WeightsError
from unseg_core.model.official import read_checkpoint

LEAST = 0.5
"""Share of a network's entries that a file must have; below it is another network's."""


def read_weights(path: str) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch.save file; nothing in it is run.

    Raises:
        WeightsError: the file is missing or is no such file.
    """
    file = Path(path)
    if file.suffix != ".safetensors":
        # Training scripts keep their arguments in checkpoints; a Namespace only holds values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return read_checkpoint(file)
    if not file.is_file():
        raise WeightsError(f"{path} does not exist; check the path")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file ({error}); fetch it again") from None


def fill_fitting(network: nn.Module, state: Mapping[str, Tensor], *, origin: str) -> list[str]:
    """Load the entries of `state` that the network has in the same shape; warns about the others.

    Returns:
        The network's entries that keep their values.

    Raises:
        WeightsError: fewer than half of the network's entries are there.
    """
    own = network.state_dict()
    fitting = {name: state[name] for name in own if name in state and state[name].shape == own[name].shape}
    kept = [name for name in own if name not in fitting]
    if len(fitting) < LEAST * len(own):
        raise WeightsError(
            f"{origin} has {len(fitting)} of the network's {len(own)} entries; give weights of this network"
        )
    if kept:
        shown = ", ".join(kept[:5]) + (" ..." if len(kept) > 5 else "")
        warnings.warn(f"{origin} does not have {len(kept)} entries, which start at random: {shown}", stacklevel=2)
    network.load_state_dict(fitting, strict=False)
    return kept


def from_hub(model: Any, name: str, **changes: object) -> nn.Module:
    """A model of transformers from a Hub name or a folder; entries that depend on the classes start at random.

    Raises:
        WeightsError: there is no such model, it cannot be fetched now, or it has no safetensors.
    """
    try:
        loaded: nn.Module = model.from_pretrained(name, ignore_mismatched_sizes=True, use_safetensors=True, **changes)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{name} cannot be loaded ({reason}); give a Hub name or a folder") from None
    return loaded


def fill_backbone(backbone: nn.Module, source: str) -> None:
    """Fill a backbone of transformers from the whole model, a Hub name or a folder.

    Raises:
        WeightsError: as from_hub and fill_fitting.
    """
    from transformers import AutoModel

    # transformers gives entries other names in files than in networks; some backbones wrap the model under its name.
    state = from_hub(AutoModel, source).state_dict()
    inner = dict(backbone.named_children()).get(str(getattr(backbone, "base_model_prefix", "")), backbone)
    fill_fitting(inner, state, origin=source)
