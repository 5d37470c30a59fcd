"""Stage `weights`: the state that both networks start from, as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.entry import run
from tasks.parameters import load_params
from tasks.work import WORK
from unseg_core.model.generator import Generator
from unseg_core.model.official_start import start_generator, start_surrogate
from unseg_core.model.surrogate import Surrogate
from unseg_core.model.weights import save_weights

WEIGHTS = Path("data/weights")
# Outside of the stage's outputs, so that a new seed does not fetch gigabytes again.
OFFICIAL = WORK / "official"


def main(arguments: list[str]) -> None:
    params = load_params().weights
    _write("generator", params.generator, *start_generator(params, OFFICIAL))
    _write("surrogate", params.surrogate, *start_surrogate(params, OFFICIAL))


def _write(kind: str, start: str, network: Generator | Surrogate, provenance: Mapping[str, object]) -> None:
    sha256 = save_weights(network, WEIGHTS / f"{kind}.safetensors", kind=kind, provenance=provenance)
    print(f"{kind} ({network.size.name}): {start} from seed {provenance['seed']}, sha256 {sha256[:12]}")


if __name__ == "__main__":
    run(main)
