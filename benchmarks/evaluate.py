"""Training steps of an evaluation beside a plain loop, and how long ours waits for data.

    python benchmarks/evaluate.py ../shared/data/kvasir --encoder resnet18 --size 96 --batch 16

The plain loop is what one writes first: float32, contiguous, images decoded and resized when their batch is due. Ours
is train_and_test's own loop: channels-last, bfloat16 where the processor has instructions for it, freed memory kept,
images kept at the network's size, batches prepared ahead. The same model and images; both live in processes of their
own and take turns.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.rounds import Work, machine, run_rounds
from unseg_core.data.layouts import open_layout
from unseg_core.device import choose_precision, prepare_device
from unseg_core.evaluate.dataset import load_one, load_samples, part_of
from unseg_core.evaluate.models import build_model
from unseg_core.evaluate.training import ALONE, Training
from unseg_core.model.parts import normalise
from unseg_core.params import EvaluateParams, RuntimeParams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 16, 16])
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6, help="of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    builders = {"plain": partial(plain_loop, options), "ours": partial(our_loop, options)}
    measured = run_rounds(builders, options.rounds)
    images = options.steps * options.batch
    print(f"UNet++ {options.encoder} {options.channels}, {options.size} px, batch {options.batch}, "
          f"{machine(options.device, options.threads)}")  # fmt: skip
    for name, one in measured.items():
        print(
            f"{name}: {one.median / options.steps:.3f} s a step, {images / one.median:.1f} images/s; "
            f"{one.result[0] / options.steps:.3f} s of the processor in the last round"
        )
    print(f"plain / ours: {measured['plain'].median / measured['ours'].median:.2f}")
    print(f"ours waits for data: {100 * measured['ours'].result[1]:.2f} % of the time")


def recipe_of(options: argparse.Namespace) -> EvaluateParams:
    return EvaluateParams(
        encoder=options.encoder,
        decoder_channels=tuple(options.channels),
        size=options.size,
        batch_size=options.batch,
        precision="auto",
    )


def plain_loop(options: argparse.Namespace) -> Work:
    torch.set_num_threads(options.threads)
    params = recipe_of(options)
    torch.manual_seed(0)
    model = build_model(params, 1).to(options.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=params.learning_rate)
    layout = open_layout("auto", options.data)
    samples = part_of(layout, test=False, test_share=0.2)[: options.steps * options.batch]

    def work() -> np.ndarray:
        begun = time.process_time()
        model.train()
        for start in range(0, len(samples), options.batch):
            loaded = [load_one(layout, one, options.size) for one in samples[start : start + options.batch]]
            images = np.stack([image.transpose(2, 0, 1) for image, _ in loaded])
            labels = torch.from_numpy(np.stack([label for _, label in loaded])).long()
            values = normalise(torch.from_numpy(images).float() / 255).to(options.device)
            logits = model(values)  # type: ignore[operator]
            optimiser.zero_grad()
            F.cross_entropy(logits, labels.to(options.device), ignore_index=255).backward()
            optimiser.step()
        if options.device == "cuda":
            torch.cuda.synchronize()
        return np.array([time.process_time() - begun])

    return work


def our_loop(options: argparse.Namespace) -> Work:
    runtime = RuntimeParams(device=options.device, threads=options.threads)
    device = prepare_device(runtime)
    params = recipe_of(options)
    layout = open_layout("auto", options.data)
    samples = part_of(layout, test=False, test_share=0.2)[: options.steps * options.batch]
    data = load_samples([(layout, one) for one in samples], options.size)
    precision = choose_precision("auto", device)
    training = Training(
        data, data, layout.classes, params, 0, device, precision=precision, checkpoint=None, processes=ALONE
    )
    seconds: list[float] = []

    def work() -> np.ndarray:
        start, begun = time.perf_counter(), time.process_time()
        training.train_epoch(0)
        seconds.append(time.perf_counter() - start)
        return np.array([time.process_time() - begun, training.waited / sum(seconds)])

    return work


if __name__ == "__main__":
    main()
