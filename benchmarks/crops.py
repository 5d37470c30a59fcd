"""Street scenes out of a few photographs: `python -m benchmarks.crops CITYSCAPES TARGET`.

Writes TARGET as Cityscapes: split `train` has crops of one side of every photograph (six tenths of its width, left and
right in turn), split `val` crops of the other side. So models learn places of a street from other places of the same
street, and every pixel has a class. For comparing kinds of noise where there is only a sample of Cityscapes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from unseg_core.data.layouts import open_layout
from unseg_core.data.layouts.cityscapes import IMAGES

SIZE = (512, 384)
SCALES = (0.6, 1.3)
"""Of the crops before they are resized to SIZE."""
TRAINING = 0.6
"""Of the width."""
HOOD = 124
"""Rows at the bottom that show the car."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--train", type=int, default=240, help="crops to train on")
    parser.add_argument("--val", type=int, default=80, help="crops to test on")
    parser.add_argument("--grey", action="store_true", help="images with one channel")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    samples = list(open_layout("cityscapes", str(options.source)).samples())
    scenes = [
        (Image.open(options.source / one.image).convert("RGB"), _labels(options.source, one.files)) for one in samples
    ]
    rng = np.random.default_rng(options.seed)
    for split, count in (("train", options.train), ("val", options.val)):
        for number in range(count):
            which = number % len(scenes)
            box = _box(rng, scenes[which][0].size, left=(which % 2 == 0) == (split == "train"), train=split == "train")
            image, labels = (part.crop(box) for part in scenes[which])
            resized = image.resize(SIZE, Image.Resampling.BILINEAR).convert("L" if options.grey else "RGB")
            _write(options.target, split, number, resized, labels.resize(SIZE, Image.Resampling.NEAREST))


def _labels(source: Path, files: tuple[str, ...]) -> Image.Image:
    return Image.open(source / files[0]).convert("I")


def _box(rng: np.random.Generator, size: tuple[int, int], *, left: bool, train: bool) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a crop that keeps to its side."""
    width, height = size[0], size[1] - HOOD
    part = round(width * (TRAINING if train else 1 - TRAINING))
    start = 0 if left else width - part
    scale = min(rng.uniform(*SCALES), part / SIZE[0], height / SIZE[1])
    across, down = int(SIZE[0] * scale), int(SIZE[1] * scale)
    x, y = start + int(rng.integers(part - across + 1)), int(rng.integers(height - down + 1))
    return x, y, x + across, y + down


def _write(target: Path, split: str, number: int, image: Image.Image, labels: Image.Image) -> None:
    ids = np.array(labels).astype(np.uint16)
    for folder, ending, values in ((IMAGES, IMAGES, np.array(image)), ("gtFine", "gtFine_instanceIds", ids)):
        path = target / folder / split / "crops" / f"{number:04}_{ending}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)


if __name__ == "__main__":
    main()
