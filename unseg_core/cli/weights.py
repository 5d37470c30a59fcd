"""`unseg weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unseg_core.cli.command import OK, Json, run, show


def weights(
    target: Annotated[Path, typer.Argument(help="Folder for generator.safetensors and surrogate.safetensors.")],
    size: Annotated[str, typer.Option(help="tiny, small, vit_b, vit_l or vit_h.")] = "small",
    generator: Annotated[str, typer.Option(help="random, sam or published.")] = "random",
    surrogate: Annotated[str, typer.Option(help="random, mae, resnet50 or resnet50-random.")] = "random",
    noise_filter: Annotated[
        str, typer.Option(help="Of the generator's noise: none (the paper), band-pass or stripes.")
    ] = "none",
    generator_url: Annotated[str, typer.Option(help="Where its checkpoint is, if not at the official place.")] = "",
    surrogate_url: Annotated[str, typer.Option(help="The same for the surrogate.")] = "",
    seed: Annotated[int, typer.Option(help="Of what is random.")] = 0,
    as_json: Json = False,
) -> None:
    """Write the state that a training starts from. Official checkpoints are downloaded."""

    def work() -> int:
        from unseg_core.model.official_start import write_start
        from unseg_core.params import WeightsParams, build

        names = {"generator": generator, "surrogate": surrogate, "noise_filter": noise_filter}
        urls = {"generator_url": generator_url, "surrogate_url": surrogate_url}
        params = build(WeightsParams, {"size": size, "seed": seed, **names, **urls}, "weights")
        written = write_start(params, target, downloads=target / ".downloads")
        show(as_json, written, "\n".join(f"{name}: sha256 {sha256}" for name, sha256 in written.items()))
        return OK

    run(work, as_json)
