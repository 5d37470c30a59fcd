"""The protocol: every method against every family of models, on every data set, by one command.

    python -m benchmarks.protocol ../shared/data data/protocol --device cuda --parallel 6 --threads 12

Protects each data set with every method at the same budget and trains models of three families from scratch on the
originals and on the copies, some 600 steps of 8 images at 256 pixels each, three seeds; test images are clean. Prints
the commands of `unseg` that it runs, and a table for every data set and family; results are in TARGET/DATASET/FAMILY
(with --defence in FAMILY-DEFENCE). The same command continues after an interruption, and a data set, method, seed or
share may be added later.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from unseg_core.protect.manifest import SUMMARY, read_summary
from unseg_core.protect.methods import METHODS

DATASETS = {
    "kvasir": ("kvasir", 6),
    "lung": ("lung", 14),
    "nwpu": ("nwpu", 30),
    "davis": ("objects/davis", 50),
}
"""Where it is below SOURCE, and epochs for some 600 steps."""
COMPARED = ("unseg", "uniform", "synper", "ar", "cuda")
FAMILIES = {
    "unetplusplus": ("model=unetplusplus", "encoder=mobilenet_v2", "decoder_channels=[32,16,16,8]"),
    "segformer": ("model=segformer", "encoder=mit_b0", "width=tiny", "clip_norm=1.0"),
    "mask2former": ("model=mask2former", "encoder=resnet50", "width=tiny", "clip_norm=1.0"),
}
"""Small ones, so that it can be run without a GPU."""
RECIPE = ("task=semantic", "size=256", "batch_size=8", "learning_rate=1e-3")


def main() -> None:
    options = parse(sys.argv[1:])
    for dataset in options.datasets:
        folder = options.target / dataset
        source = original(options.source, folder, dataset)
        for method in options.methods:
            protect(source, folder / method, method, options.epsilon, options.epsilon_bg)
        for family in options.families:
            copies = [folder / method for method in options.methods]
            out = folder / "-".join([family, *options.defence]).replace(":", "-")
            extra = [*repeated("--defence", options.defence), *repeated("--protected-share", options.shares)]
            unseg("evaluate", source, *copies, "--out", out, *extra, *settings(options, dataset, family))


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder that holds kvasir, lung, nwpu and objects")
    parser.add_argument("target", type=Path, help="of copies and results; another one for another budget")
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=DATASETS)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--methods", nargs="+", default=list(COMPARED), choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epsilon", type=float, default=8, help="8-bit levels on the object")
    parser.add_argument("--epsilon-bg", type=float, default=2, help="and elsewhere")
    parser.add_argument("--defence", nargs="+", default=[], help="in all trainings: jpeg:75 resize:0.5 ...")
    parser.add_argument("--shares", nargs="+", type=float, default=[], help="of the training images protected: 0.5 1")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parallel", type=int, default=2, help="trainings at the same time")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further parameters of evaluations")
    return parser.parse_args(arguments)


def original(source: Path, folder: Path, dataset: str) -> Path:
    """The data set; NWPU with all objects as one mask."""
    place = source / DATASETS[dataset][0]
    if dataset != "nwpu":
        return place
    one_mask, partial = folder / "original", folder / "original.partial"
    if not one_mask.exists():
        shutil.rmtree(partial, ignore_errors=True)
        run("benchmarks.one_mask", place, partial)
        partial.rename(one_mask)
    return one_mask


def protect(source: Path, copy: Path, method: str, epsilon: float, epsilon_bg: float) -> None:
    if not (copy / SUMMARY).exists():
        budget = ["--epsilon", epsilon, "--epsilon-bg", epsilon_bg]
        unseg("protect", source, copy, "--method", method, "--image-format", "png", *budget)
        return
    done = read_summary(str(copy))["settings"]
    if (done["epsilon"], done["epsilon_bg"]) != (epsilon, epsilon_bg):
        raise SystemExit(
            f"error: {copy} has the budget {done['epsilon']:g} and {done['epsilon_bg']:g}; give another TARGET"
        )


def settings(options: argparse.Namespace, dataset: str, family: str) -> list[object]:
    epochs, seeds = DATASETS[dataset][1], ",".join(map(str, options.seeds))
    evaluate = [*RECIPE, *FAMILIES[family], f"epochs={epochs}", f"test_every={epochs}", "precision=auto"]
    evaluate += [f"seeds=[{seeds}]", f"parallel={options.parallel}"]
    every = [f"runtime.device={options.device}", f"runtime.threads={options.threads}"]
    every += [f"evaluate.{one}" for one in evaluate] + options.set
    return repeated("--set", every)


def repeated(option: str, values: Sequence[object]) -> list[object]:
    return [part for value in values for part in (option, value)]


def unseg(*arguments: object) -> None:
    run("unseg_core.cli", *arguments)


def run(module: str, *arguments: object) -> None:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    print("$", shlex.join(command[1:]), flush=True)
    code = subprocess.run(command, check=False).returncode
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
