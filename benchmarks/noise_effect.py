"""Does the training do its job? `python -m benchmarks.noise_effect TRAINING... --unseen FOLDER`

Trains twice from the same start, size `tiny`: with the noise, and as a control with the budget 0. Prints the
surrogate's IoU on noised and on clean images after its last phase, on training images and on images that neither player
has seen. The last epoch belongs to the surrogate, so that it had the last word.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.rounds import machine
from unseg_core.data.layouts import Layout, open_layout
from unseg_core.data.sample import Sample
from unseg_core.memory import keep_freed_memory
from unseg_core.model.generator import Generator
from unseg_core.model.sizes import TINY
from unseg_core.model.surrogate import Surrogate
from unseg_core.model.weights import initialise
from unseg_core.params import TrainParams
from unseg_core.train.dataset import TrainSource, list_samples
from unseg_core.train.loop import Run, make_players, train
from unseg_core.train.records import EpochRecord
from unseg_core.train.validate import ValidationSet

Samples = Sequence[tuple[Layout, Sample]]
RECIPE = TrainParams(
    epochs=5, surrogate_every=2, decay_epoch=5, batch_size=16, learning_rate=1e-3, epsilon=8, epsilon_bg=2,
    train_sam=True, scale_min=0.8, scale_max=1.25, points=576, validate_every=5,
)  # fmt: skip
"""That of the profile objects-tiny, shorter; epochs 0, 2 and 4 are the surrogate's."""


def samples_of(folders: Sequence[str], most: int = 0) -> list[tuple[Layout, Sample]]:
    """Images of the folders; `most` of each, if given."""
    found: list[tuple[Layout, Sample]] = []
    for folder in folders:
        one = list_samples([TrainSource(name=folder, layout=open_layout("auto", folder))])
        found += one[: most or len(one)]
    return found


def last_epoch(training: Samples, unseen: Samples, params: TrainParams, seed: int = 0) -> EpochRecord:
    """Train from a random start; what is known of both players at the end."""
    networks = initialise(Generator, TINY, seed), initialise(Surrogate, TINY, seed + 1)
    with tempfile.TemporaryDirectory(prefix="unseg-benchmark-") as work:
        run = Run(
            players=make_players(*networks, params, torch.device("cpu")),
            samples=training,
            params=params,
            work=Path(work),
            validation=[ValidationSet(name="unseen", samples=unseen)],
        )
        return train(run).records[-1]


def without_noise(params: TrainParams) -> TrainParams:
    return replace(params, epsilon=0, epsilon_bg=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training", nargs="+", help="folders of images with masks")
    parser.add_argument("--unseen", nargs="+", required=True)
    parser.add_argument("--images", type=int, default=0, help="of each training folder; 0: all")
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parser.add_argument("--batch-size", type=int, default=RECIPE.batch_size)
    parser.add_argument("--learning-rate", type=float, default=RECIPE.learning_rate)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    print(machine("cpu", given.threads), flush=True)
    changes = {"epochs": given.epochs, "decay_epoch": given.epochs, "validate_every": given.epochs, "seed": given.seed}
    changes |= {"batch_size": given.batch_size}
    params = replace(RECIPE, learning_rate=given.learning_rate, **changes)
    training, unseen = samples_of(given.training, given.images), samples_of(given.unseen)
    for name, chosen in (("with noise", params), ("control, budget 0", without_noise(params))):
        start = time.perf_counter()
        record = last_epoch(training, unseen, chosen, given.seed)
        health, scores = record.health, record.validation["unseen"]
        print(
            f"{name}, last phase {record.phase}, {time.perf_counter() - start:.0f} s\n"
            f"  {len(training)} training images: IoU noised {health.surrogate_iou_noised:.3f}, "
            f"clean {health.surrogate_iou_clean:.3f}\n"
            f"  {scores.images} unseen images: IoU noised {scores.iou_noised:.3f}, clean {scores.iou_clean:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
