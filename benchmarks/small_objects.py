"""Is the noise of small objects that of large ones? `python -m benchmarks.small_objects SOURCE --method unseg`.

Makes mosaics of 3 x 3, 5 x 5 and 8 x 8 images of a data set and its masks, and says for objects of each size how far
the noise on them is that of large ones: 1 is the same, 0 is that of what is no object. Compared are the strengths of
columns and of diagonals in each channel, which is what the noise filter `stripes` and `grating` decide.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy import ndimage

from benchmarks.mosaics import SIDE, mosaic
from unseg_core.data.layouts import open_layout
from unseg_core.model.generator_reference import resolve_generator
from unseg_core.protect.methods import MethodOptions, build_method
from unseg_core.stripes import CYCLES

MOSAICS = (3, 5, 8)
"""Images along a side."""
SIZES = (0.02, 0.03, 0.05, 0.07, 0.1)
"""Of objects: the root of their area, in sides of the mosaic. Larger ones are large; smaller ones are left out."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--method", default="unseg", choices=["unseg", "grating"])
    parser.add_argument("--generator", default="small", help="of `unseg`, as in `unseg protect`")
    parser.add_argument("--prompt", default="mask", help="likewise")
    parser.add_argument("--images", type=int, default=24, help="mosaics of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = resolve_generator(options.generator) if options.method == "unseg" else None
    method = build_method(options.method, MethodOptions(generator=generator, prompt=options.prompt))
    layout, rng = open_layout("auto", options.source), np.random.default_rng(options.seed)
    samples = list(layout.samples())
    waves = waves_of(SIDE)
    elsewhere, objects, sizes = [], [], []
    for parts in MOSAICS:
        for number in range(options.images):
            image, target = mosaic(layout, samples, parts, rng)
            signs = np.sign(method.noise(image, target, f"{parts} {number}"))
            elsewhere.append(strengths(signs, waves, ~target.mask))
            for place in connected(target.mask):
                objects.append(strengths(signs, waves, place))
                sizes.append(np.sqrt(place.sum()) / SIDE)
    show(np.mean(elsewhere, axis=0), np.array(objects), np.array(sizes))


def waves_of(side: int) -> np.ndarray:
    """Columns and diagonals, each in two phases: [4, side, side]."""
    along = (np.arange(side) + 0.5) * (2 * np.pi * CYCLES / side)
    both = (np.broadcast_to(along, (side, side)), (along[:, None] + along) / 2**0.5)
    return np.stack([turn(angle) for angle in both for turn in (np.cos, np.sin)])


def connected(mask_HW: np.ndarray) -> list[np.ndarray]:
    """Each object that touches no other, without those that are too small."""
    labels, _ = ndimage.label(mask_HW)
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return [labels == number for number in np.flatnonzero(counts >= (SIZES[0] * SIDE) ** 2)]


def strengths(signs_CHW: np.ndarray, waves: np.ndarray, place_HW: np.ndarray) -> np.ndarray:
    """How far each channel is each wave there, [12]."""
    found: np.ndarray = (signs_CHW[:, place_HW] @ waves[:, place_HW].T / place_HW.sum()).ravel()
    return found


def show(elsewhere: np.ndarray, objects: np.ndarray, sizes: np.ndarray) -> None:
    if not (sizes >= SIZES[-1]).any():
        raise SystemExit(
            f"error: no mosaic has an object of {SIZES[-1]:g} of its side to compare with; give more --images"
        )
    step = objects[sizes >= SIZES[-1]].mean(axis=0) - elsewhere
    like_large = (objects - elsewhere) @ step / (step @ step)
    print("| objects, of the side | number | like large ones |\n| --- | --- | --- |")
    for low, high in zip(SIZES, (*SIZES[1:], 1.0), strict=True):
        inside = (sizes >= low) & (sizes < high)
        share = f"{like_large[inside].mean():.2f}" if inside.any() else "-"
        print(f"| {low:g} to {high:g} | {inside.sum()} | {share} |")
    print(f"between large objects and elsewhere: {np.linalg.norm(step):.2f}")


if __name__ == "__main__":
    main()
