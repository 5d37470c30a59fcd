"""One training step of each phase: the plain loop in float32 against ours, in float32 and bfloat16.

    python benchmarks/train_step.py                       # ViT-B, one sample, two CPU threads
    python benchmarks/train_step.py --device cuda --batch 4

The plain loop is segment_anything's modules, Adam as torch makes it by default, and gradients emptied before they are
made again; like ours it freezes what the phase does not train. Weights are random: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.optim import Adam

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.plain import use_plain_modules
from benchmarks.rounds import Measured, Work, machine, run_rounds
from unseg_core.memory import keep_freed_memory
from unseg_core.model.generator import Generator
from unseg_core.model.prompts import Prompts
from unseg_core.model.sizes import SIZES
from unseg_core.model.surrogate import Surrogate
from unseg_core.model.weights import initialise
from unseg_core.params import TrainParams
from unseg_core.train.loop import Players, freeze, make_players
from unseg_core.train.step import Batch, Phase, forward_step

PHASES: tuple[Phase, ...] = ("surrogate", "generator")


def build(variant: str, phase: Phase, *, size: str, device: str, threads: int, batch: int) -> Work:
    """One step: both networks forward, backward, optimiser."""
    torch.set_num_threads(threads)
    if variant == "plain":
        use_plain_modules()
    else:
        keep_freed_memory()
    params = TrainParams()
    players = make_players(
        initialise(Generator, SIZES[size], 0), initialise(Surrogate, SIZES[size], 1), params, torch.device(device)
    )
    optimiser = _plain_adam(players, phase) if variant == "plain" else players.optimiser(phase)
    freeze(players, phase, params)
    samples = _batch(size, device, batch)
    precision = "bf16" if variant == "bf16" else "fp32"

    def work() -> np.ndarray:
        result = forward_step(players.generator, players.surrogate, samples, phase, params, precision)
        if variant == "plain":
            optimiser.zero_grad(set_to_none=True)
        result.loss.backward()
        optimiser.step()
        if variant != "plain":
            optimiser.zero_grad(set_to_none=True)
        return np.array(result.loss.item())

    return work


def _plain_adam(players: Players, phase: Phase) -> Adam:
    network = players.surrogate if phase == "surrogate" else players.generator
    return Adam([p for p in network.parameters() if p.requires_grad], lr=1e-4)


def _batch(size: str, device: str, count: int) -> Batch:
    """Random images with a box for the generator's prompt and the surrogate's."""
    random = torch.Generator().manual_seed(0)
    side, points = SIZES[size].input_size, TrainParams().points
    image, half = (torch.rand(count, 3, s, s, generator=random).to(device) for s in (side, side // 2))
    label = torch.zeros(count, 1, side // 2, side // 2, device=device)
    label[:, :, side // 8 : side // 4, side // 8 : side // 4] = 1.0
    box = torch.tensor([[side / 8, side / 8, side / 4, side / 4]]).expand(count, 4)
    prompts = [
        Prompts(image=torch.arange(count), row=torch.arange(count), boxes=b).to(torch.device(device))
        for b in (2 * box, box)
    ]
    return Batch(
        image=image,
        image_half=half,
        label_half=label,
        generator_prompts=prompts[:1],
        surrogate_prompts=prompts[1:],
        candidates=torch.rand(count, 3 * points, 2, generator=random).to(device),
        uniform=torch.rand(count, points // 4, 2, generator=random).to(device),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", default="vit_b", choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", default="wall", choices=["wall", "process"], help="process: for a busy machine")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--variants", nargs="+", default=["plain", "fp32", "bf16"])
    options = parser.parse_args()
    where = {"device": options.device, "threads": options.threads}
    how = {"size": options.size, "batch": options.batch, **where}
    print(f"{options.size}, batch of {options.batch}, {machine(**where)}, {options.clock} clock")
    print(f"median of {options.rounds} rounds")
    for phase in PHASES:
        measured = run_rounds(
            {v: partial(build, v, phase, **how) for v in options.variants}, options.rounds, options.clock
        )
        for variant, of in measured.items():
            print(f"{phase} phase, {variant:5s} {of.median:7.3f} s a step, peak memory {of.peak_mb:6.0f} MB", end="")
            print(_against(measured.get("plain"), of) if variant != "plain" else "")


def _against(plain: Measured | None, of: Measured) -> str:
    if plain is None:
        return ""
    return f"; {plain.median / of.median:.2f} x plain, memory {of.peak_mb / plain.peak_mb:.2f} x"


if __name__ == "__main__":
    main()
