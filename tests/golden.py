"""The golden numbers: where they lie, and the rule that fills a network without trained weights."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

GOLDEN = Path(os.environ.get("UNSEG_GOLDEN", Path(__file__).parents[2] / "shared" / "golden"))

_UNIT = ("point_embeddings", "not_a_point_embed", "no_mask_embed", "iou_token", "mask_tokens", "noise_token")


def fill_by_rule(network: nn.Module) -> None:
    """Fill every entry from its name and shape alone (README of the golden folder, "Weight rule")."""
    state = {}
    for name, tensor in network.state_dict().items():
        rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
        z = rng.standard_normal(tensor.numel(), dtype=np.float32)
        if name.endswith("positional_encoding_gaussian_matrix") or any(part in name for part in _UNIT):
            value = z
        elif tensor.dim() == 1 and name.endswith(".weight"):
            value = np.float32(1) + np.float32(0.02) * z
        else:
            value = np.float32(0.04) * z
        state[name] = torch.from_numpy(value.reshape(tuple(tensor.shape)))
    network.load_state_dict(state)


def array(name: str) -> np.ndarray:
    return np.load(GOLDEN / f"{name}.npy")


def png(name: str) -> np.ndarray:
    return np.asarray(Image.open(GOLDEN / f"{name}.png"))
