"""The state that both networks start from: random, or from official checkpoints, which are fetched where need be."""

from __future__ import annotations

import hashlib
from pathlib import Path

from unseg_core.download import download, file_digest, has_digest, is_digest
from unseg_core.errors import WeightsError
from unseg_core.model import official
from unseg_core.model.generator import Generator
from unseg_core.model.sizes import Size, size_by_name
from unseg_core.model.surrogate import Surrogate
from unseg_core.model.weights import initialise, save_weights
from unseg_core.params import WeightsParams
from unseg_core.remote_file import public_url
from unseg_core.storage import is_url

Provenance = dict[str, object]


def write_start(params: WeightsParams, target: Path, *, downloads: Path) -> dict[str, str]:
    """Write generator.safetensors and surrogate.safetensors into `target`; returns their sha256 by kind.

    Args:
        downloads: where fetched files are kept.

    Raises:
        UnsegError: as `start_generator`.
    """
    made: dict[str, tuple[Generator | Surrogate, Provenance]] = {
        "generator": start_generator(params, downloads),
        "surrogate": start_surrogate(params, downloads),
    }
    return {
        kind: save_weights(network, target / f"{kind}.safetensors", kind=kind, provenance=provenance)
        for kind, (network, provenance) in made.items()
    }


def start_generator(params: WeightsParams, folder: Path) -> tuple[Generator, Provenance]:
    """The generator, and what it comes from.

    Args:
        folder: where fetched files are kept.

    Raises:
        ParameterError: there is no official file for this size.
        DataError: a file cannot be fetched.
        WeightsError: a file is no checkpoint, or does not fit.
    """
    size = size_by_name(params.size)
    generator = initialise(Generator, size, params.seed, noise_filter=params.noise_filter)
    files = Files(folder)
    if params.generator == "published":
        official.fill_published(generator, files.bring(params.generator_url))
    elif params.generator == "sam":
        _fill_sam(generator, params, files)
    return generator.eval(), files.provenance(params.generator, params.seed)


def start_surrogate(params: WeightsParams, folder: Path) -> tuple[Surrogate, Provenance]:
    """The surrogate, and what it comes from; as `start_generator`."""
    encoder = "resnet50" if params.surrogate.startswith("resnet50") else "vit"
    # One more than the generator's, so that the two are no copies; provenance names the seed of the stage.
    surrogate = initialise(Surrogate, size_by_name(params.size), params.seed + 1, encoder=encoder)
    files = Files(folder)
    if params.surrogate == "mae":
        url = params.surrogate_url or _official_url(official.MAE, surrogate.size, "weights.surrogate_url")
        official.fill_mae(surrogate, files.bring(url))
    elif params.surrogate == "resnet50":
        official.fill_resnet(surrogate, files.bring(params.surrogate_url or official.RESNET50.url))
    return surrogate.eval(), files.provenance(params.surrogate, params.seed)


def _fill_sam(generator: Generator, params: WeightsParams, files: Files) -> None:
    """From one file, or from a folder of three."""
    url = params.generator_url or _official_url(official.SAM, generator.size, "weights.generator_url")
    if url.endswith("/"):
        names = official.sam_part_files(generator.size.name)
        official.fill_sam_parts(generator, {part: files.bring(url + name) for part, name in names.items()})
    else:
        official.fill_sam(generator, files.bring(url))


def _official_url(known: dict[str, official.OfficialFile], size: Size, parameter: str) -> str:
    return official.official_file(known, size.name, parameter).url


class Files:
    """Brings checkpoint files to this machine, and remembers which these were."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.brought: list[dict[str, str]] = []

    def bring(self, location: str) -> Path:
        """The local file of a URL or path; one on this machine is read where it is."""
        url, _, digest = location.rpartition("#")
        if not is_digest(digest):
            url, digest = location, official.DIGESTS.get(location, "")
        if is_url(url):
            # Two locations may use one file name.
            name = url.partition("?")[0].rsplit("/", 1)[1] or "checkpoint"
            path = self.folder / hashlib.sha256(url.encode()).hexdigest()[:12] / name
            sha256 = download(url, path, digest=digest or None, max_bytes=official.MAX_BYTES)
        else:
            path = Path(url).expanduser()
            sha256 = _check_local(path, digest)
        self.brought.append({"url": public_url(url), "sha256": sha256})
        return path

    def provenance(self, start: str, seed: int) -> Provenance:
        """What goes into the metadata of our file."""
        made: Provenance = {"initialisation": start, "seed": seed}
        return {**made, "files": self.brought} if self.brought else made


def _check_local(path: Path, digest: str) -> str:
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; check the path")
    sha256 = file_digest(path, "sha256")
    if digest and not has_digest(path, digest):
        raise WeightsError(f"{path} is sha256:{sha256}, not {digest}; fetch it again, or name another file")
    return sha256
