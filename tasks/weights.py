"""Stage `weights`: the state that both networks start from, as safetensors."""

from __future__ import annotations

from pathlib import Path

from tasks.entry import run
from tasks.parameters import load_params
from unseg_core.model.generator import Generator
from unseg_core.model.sizes import size_by_name
from unseg_core.model.surrogate import Surrogate
from unseg_core.model.weights import initialise, save_weights

WEIGHTS = Path("data/weights")


def main(arguments: list[str]) -> None:
    params = load_params().weights
    size = size_by_name(params.size)
    provenance = {"initialisation": "random", "seed": params.seed}
    for kind, network in (
        ("generator", initialise(Generator, size, params.seed)),
        ("surrogate", initialise(Surrogate, size, params.seed + 1)),
    ):
        sha256 = save_weights(network, WEIGHTS / f"{kind}.safetensors", kind=kind, provenance=provenance)
        print(f"{kind} ({size.name}): random from seed {params.seed}, sha256 {sha256[:12]}")


if __name__ == "__main__":
    run(main)
