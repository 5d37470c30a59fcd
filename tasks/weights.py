"""Stage `weights`: the state that both networks start from, as safetensors."""

from __future__ import annotations

from pathlib import Path

from tasks.entry import run
from tasks.parameters import load_params
from tasks.work import WORK
from unseg_core.model.official_start import write_start

WEIGHTS = Path("data/weights")
# Outside of the stage's outputs, so that a new seed does not fetch gigabytes again.
OFFICIAL = WORK / "official"


def main(arguments: list[str]) -> None:
    params = load_params().weights
    written = write_start(params, WEIGHTS, downloads=OFFICIAL)
    for kind, sha256 in written.items():
        print(f"{kind} ({params.size}): {getattr(params, kind)} from seed {params.seed}, sha256 {sha256[:12]}")


if __name__ == "__main__":
    run(main)
