"""A generator by whatever names it: the one that ships, a path, a URL, a version in a registry; ours, or the published.

All end as a local safetensors file of this project, which is what `load_generator` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from unseg_core.download import file_digest
from unseg_core.errors import WeightsError
from unseg_core.model.generator import Generator
from unseg_core.model.official import read_checkpoint
from unseg_core.model.official_start import Files
from unseg_core.model.registry_uri import CACHE, is_model_uri, resolve_model_uri
from unseg_core.model.shipped import SMALL_SHA256
from unseg_core.model.sizes import SIZES, Size
from unseg_core.model.weights import fill, initialise, save_weights

SHIPPED = {"small": (Path(__file__).parent / "shipped" / "small.safetensors", SMALL_SHA256)}
"""Generators that come with the package: file and sha256."""


def resolve_generator(reference: str, cache: Path = CACHE) -> Path:
    """The local file of a generator, fetched or converted into `cache` where need be.

    Args:
        reference: `small`, which comes with the package; a path, a URL of any scheme that fsspec knows, or MLflow's
            models:/NAME@ALIAS and models:/NAME/VERSION. The file is one of ours, or a checkpoint with the entries of
            the published one. A path or URL may end in `#sha256:HEX`, which is checked.
        cache: a folder; a file is fetched again only if it has changed.

    Raises:
        ParameterError: there is no such registry.
        DataError: the file cannot be fetched.
        WeightsError: there is no such file or model, it is not the one expected, or no generator.
    """
    cache = cache.expanduser()
    if reference in SHIPPED:
        return _shipped(reference)
    if is_model_uri(reference):
        return resolve_model_uri(reference, cache=cache)
    path = Files(cache).bring(reference)
    return _converted(path, cache) if _is_torch_file(path) else path


def _shipped(name: str) -> Path:
    path, sha256 = SHIPPED[name]
    if not path.is_file() or file_digest(path, "sha256") != sha256:
        raise WeightsError(
            f"{path} is not the generator that was published with this version; install the package again"
        )
    return path


def _is_torch_file(path: Path) -> bool:
    """True for a file of torch.save, old or new; byte 8 of safetensors opens their JSON header."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] != b"{" and (start.startswith(b"PK\x03\x04") or start.startswith(b"\x80"))


def _converted(path: Path, cache: Path) -> Path:
    """Our file of a published checkpoint: made once, and with bytes that depend on the checkpoint alone."""
    sha256 = file_digest(path, "sha256")
    target = cache / sha256 / "generator.safetensors"
    if not target.is_file():
        state = read_checkpoint(path)
        generator = initialise(Generator, _size_of(state, path), 0)
        fill(generator, state, origin=str(path))
        provenance = {"initialisation": "published", "files": [{"sha256": sha256}]}
        save_weights(generator, target, kind="generator", provenance=provenance)
    return target


def _size_of(state: Mapping[str, Tensor], path: Path) -> Size:
    """The size whose position embedding the checkpoint has."""
    if not any("noise" in name for name in state):
        raise WeightsError(
            f"{path} is no generator: nothing in it makes noise; train one from it, or name another file"
        )
    positions = state.get("image_encoder.pos_embed")
    for size in SIZES.values():
        side = size.input_size // size.patch_size
        if positions is not None and positions.shape == (1, side, side, size.embed_dim):
            return size
    raise WeightsError(f"{path} is no generator of a known size ({', '.join(SIZES)}); name another file")
