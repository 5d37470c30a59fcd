"""Noise for one image: segment_anything's modules as shipped, ours in float32, ours in bfloat16.

    python benchmarks/generator.py                 # two CPU threads, 1024 px, ViT-B
    python benchmarks/generator.py --device cuda --batch 1 4 8

Weights are random: the time does not depend on them. GFLOP are 2 x multiply-add of the whole forward pass
(docs/method.md). The variant `compiled` is float32 with torch.compile on the decoder; it needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.plain import use_plain_modules
from benchmarks.rounds import Measured, Work, machine, matmul_peak, peak_flops, run_rounds
from unseg_core.device import autocast
from unseg_core.memory import keep_freed_memory
from unseg_core.model.generator import Generator
from unseg_core.model.prompts import Prompts
from unseg_core.model.sizes import SIZES
from unseg_core.model.weights import initialise

GFLOP = {"vit_b": 972 + 65}


def build(variant: str, *, size: str, device: str, threads: int, batch: int) -> Work:
    """One forward pass of `batch` images."""
    torch.set_num_threads(threads)
    if variant == "plain":
        use_plain_modules()
    else:
        keep_freed_memory()
    network = initialise(Generator, SIZES[size], 0).eval().to(device)
    if variant == "compiled":
        network.mask_decoder.compile()
        network.mask_decoder.noise_compress_vit_feat.compile()
    random = torch.Generator().manual_seed(0)
    side, noise_size = SIZES[size].input_size, SIZES[size].noise_size
    images = torch.rand(batch, 3, side, side, generator=random).to(device)
    masks = torch.zeros(batch, 1, noise_size, noise_size)
    masks[:, :, noise_size // 4 : noise_size // 2, noise_size // 4 : noise_size // 2] = 255.0
    prompts = Prompts(image=torch.arange(batch), row=torch.arange(batch), masks=masks).to(torch.device(device))

    def work() -> np.ndarray:
        with torch.inference_mode(), autocast(torch.device(device), "bf16" if variant == "bf16" else "fp32"):
            noise: np.ndarray = network(images, [prompts]).float().cpu().numpy()
            return noise

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", default="vit_b", choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", default="wall", choices=["wall", "process"], help="process: for a busy machine")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="of ours; the plain path takes one at a time")
    parser.add_argument("--variants", nargs="+", default=["plain", "fp32", "bf16"])
    options = parser.parse_args()
    where = {"device": options.device, "threads": options.threads}
    builders: dict[str, partial[Work]] = {}
    for variant in options.variants:
        for batch in [1] if variant == "plain" else options.batch:
            builders[f"{variant} x{batch}"] = partial(build, variant, size=options.size, batch=batch, **where)
    builders["peak fp32"] = partial(matmul_peak, dtype=torch.float32, **where)
    if "bf16" in options.variants:
        builders["peak bf16"] = partial(matmul_peak, dtype=torch.bfloat16, **where)
    measured = run_rounds(builders, options.rounds, options.clock)
    print(f"\n{options.size}, {machine(**where)}, {options.clock} clock; median of {options.rounds} rounds")
    report(measured, options.size, options.device)


def report(measured: dict[str, Measured], size: str, device: str) -> None:
    """The table, relative to the plain path and to the ideal time at the measured peak."""
    plain = measured.get("plain x1")
    for name, of in measured.items():
        if name.startswith("peak"):
            continue
        variant, count = name.split(" x")
        seconds = of.median / int(count)
        line = f"{name:10s} {seconds:8.4f} s an image, peak memory {of.peak_mb:6.0f} MB"
        if plain is not None and name != "plain x1":
            line += f"; {plain.median / seconds:.2f} x plain, memory {of.peak_mb / plain.peak_mb:.2f} x"
        peak = peak_flops(device, measured[f"peak {'bf16' if variant == 'bf16' else 'fp32'}"].seconds)
        if size in GFLOP:
            ideal = GFLOP[size] * 1e9 / peak
            line += f"; {seconds / ideal:.2f} x the ideal {ideal:.4f} s at {peak / 1e9:.0f} GFLOP/s"
        print(line)
    reference = plain or next(iter(measured.values()))
    for name, of in measured.items():
        if not name.startswith(("peak", "plain")):
            difference = np.abs(of.result[:1] - reference.result)
            levels = np.abs(np.round(8 * of.result[:1]) - np.round(8 * reference.result))
            share = f"{100 * (levels > 0).mean():.2f} % of the values by a level, at most {levels.max():.0f}"
            print(f"{name:10s} noise differs by at most {difference.max():.1e}; at 8/255 {share}")


if __name__ == "__main__":
    main()
