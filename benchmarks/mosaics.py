"""A data set with small objects, made of one with large ones: `python -m benchmarks.mosaics SOURCE TARGET`.

Every image is a mosaic of 3 x 3 to 6 x 6 images of the source and their masks. What evaluations hold for testing has
only images in it that they hold of the source, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from unseg_core.data.layouts import Layout, open_layout
from unseg_core.data.sample import Sample, Target, held_ids, target_of
from unseg_core.train.dataset import load_pair

SIDE = 512
"""Pixels."""
FEWEST, MOST = 3, 6
"""Images along a side."""
TEST_SHARE = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("target", type=Path, help="folder that gets images/ and masks/")
    parser.add_argument("--images", type=int, default=210)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.target.exists():
        raise SystemExit(f"error: {options.target} exists; give another TARGET, or remove it")
    layout, rng = open_layout("auto", options.source), np.random.default_rng(options.seed)
    samples = list(layout.samples())
    held = held_ids([sample.id for sample in samples], TEST_SHARE)
    names = [f"{number:03}" for number in range(options.images)]
    for_test = held_ids(names, TEST_SHARE)
    for folder in ("images", "masks"):
        (options.target / folder).mkdir(parents=True)
    for name in names:
        usable = [sample for sample in samples if (sample.id in held) == (name in for_test)]
        image, target = mosaic(layout, usable, int(rng.integers(FEWEST, MOST + 1)), rng)
        Image.fromarray(image).save(options.target / "images" / f"{name}.png")
        Image.fromarray(target.mask.astype(np.uint8) * 255).save(options.target / "masks" / f"{name}.png")


def mosaic(
    layout: Layout, samples: Sequence[Sample], parts: int, rng: np.random.Generator
) -> tuple[np.ndarray, Target]:
    """Random images of a data set beside and below each other."""
    image, mask = np.zeros((SIDE, SIDE, 3), dtype=np.uint8), np.zeros((SIDE, SIDE), dtype=bool)
    edges = np.linspace(0, SIDE, parts + 1).astype(int)
    for top, bottom in pairwise(edges):
        for left, right in pairwise(edges):
            pixels, label = load_pair(layout, samples[rng.integers(len(samples))])
            size = (int(right - left), int(bottom - top))
            photo = Image.fromarray(pixels.permute(1, 2, 0).numpy())
            image[top:bottom, left:right] = photo.resize(size, Image.Resampling.BILINEAR)
            small = Image.fromarray(label[0].numpy()).resize(size, Image.Resampling.NEAREST)
            mask[top:bottom, left:right] = np.asarray(small) > 0
    return image, target_of(mask)


if __name__ == "__main__":
    main()
