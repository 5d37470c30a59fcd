"""Weights on disk: safetensors with the size, budget and provenance in its metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from unseg_core.errors import WeightsError
from unseg_core.model.generator import Generator
from unseg_core.model.noise_filters import DEFAULT_FILTER, NOISE_FILTERS
from unseg_core.model.sizes import Size, size_by_name
from unseg_core.model.surrogate import DEFAULT_ENCODER, Surrogate
from unseg_core.storage import write_file

FORMAT = "unseg-1"
LISTED = 20
"""Entries that do not fit and are listed one by one."""
Network = TypeVar("Network", Generator, Surrogate)


def initialise(build: Callable[..., Network], size: Size, seed: int, **options: str) -> Network:
    """A network with seeded random weights; the global random state is left alone.

    Args:
        options: further arguments of the network, such as the surrogate's `encoder`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(size=size, **options)


def save_weights(
    network: Generator | Surrogate,
    path: Path,
    *,
    kind: str,
    provenance: Mapping[str, object],
    epsilon: float | None = None,
    epsilon_bg: float | None = None,
) -> str:
    """Write a network's state atomically and return the file's sha256.

    Args:
        kind: "generator" or "surrogate".
        provenance: what the weights come from (seed, data, recipe); plain JSON values.
        epsilon: budget on the object that the generator was trained at, 8-bit levels; None if it is untrained.
        epsilon_bg: the same elsewhere.
    """
    metadata = {
        "format": FORMAT,
        "kind": kind,
        "size": network.size.name,
        "provenance": json.dumps(provenance, sort_keys=True),
    }
    if isinstance(network, Surrogate) and network.encoder != DEFAULT_ENCODER:
        metadata["encoder"] = network.encoder
    if isinstance(network, Generator) and network.noise_filter != DEFAULT_FILTER:
        metadata["noise_filter"] = network.noise_filter
    levels = {"epsilon": epsilon, "epsilon_bg": epsilon_bg}
    metadata |= {name: json.dumps(float(value)) for name, value in levels.items() if value is not None}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    data = canonical_bytes(state, metadata)
    write_file(str(path), data)
    return hashlib.sha256(data).hexdigest()


def canonical_bytes(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """safetensors bytes with a sorted header: the library writes the metadata in random order."""
    data = save(dict(state))
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    text = json.dumps({"__metadata__": dict(sorted(metadata.items())), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def load_generator(path: str | Path) -> Generator:
    """A generator from our safetensors file: on the CPU, in evaluation mode.

    Raises:
        WeightsError: the file is missing, is no such file, or its entries do not fit.
    """
    return _load(Generator, Path(path), "generator")


def half_sized(path: Path) -> bytes:
    """The bytes of one of our files with its values as float16: half the size, and what a generator that ships needs.

    Raises:
        WeightsError: there is no such file.
    """
    state, metadata = _read(path)
    return canonical_bytes({name: tensor.half() for name, tensor in state.items()}, metadata)


def load_surrogate(path: str | Path) -> Surrogate:
    """A surrogate from our safetensors file; as `load_generator`."""
    return _load(Surrogate, Path(path), "surrogate")


def read_metadata(path: str | Path) -> dict[str, str]:
    """Metadata of one of our weight files."""
    return _read(Path(path))[1]


def _load(build: Callable[..., Network], path: Path, kind: str) -> Network:
    state, metadata = _read(path)
    if metadata.get("format") != FORMAT or metadata.get("kind") != kind:
        raise WeightsError(f"{path} is no {kind} of this project; give a file that `train` or `weights` has written")
    options = {name: metadata[name] for name in ("encoder", "noise_filter") if name in metadata}
    if options.get("noise_filter", DEFAULT_FILTER) not in NOISE_FILTERS:
        raise WeightsError(f"{path} has the noise filter {options['noise_filter']!r}; it needs a newer version")
    network = build(size=size_by_name(metadata.get("size", "")), **options)
    fill(network, state, origin=str(path))
    return network.eval()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; train a generator first or name another file")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118  # no mapping
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file ({error}); fetch or train it again") from None


def fill(network: nn.Module, state: Mapping[str, Tensor], *, origin: str) -> None:
    """Load `state` into `network`; missing, extra and misshapen entries are listed in the WeightsError."""
    own = network.state_dict()
    problems = [f"missing {name}" for name in own if name not in state]
    problems += [f"extra {name}" for name in state if name not in own]
    problems += [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if problems:
        rest = [f"and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
        listing = "; ".join(problems[:LISTED] + rest)
        raise WeightsError(f"{origin} does not fit the network ({len(problems)} entries): {listing}")
    network.load_state_dict(dict(state))


def count_parameters(network: nn.Module, *, trained_only: bool = False) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trained_only)
