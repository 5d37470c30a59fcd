"""How much of a copy's noise is left after a defence? `python -m benchmarks.noise_left SOURCE COPY`.

No training: original and copy at the size that a model sees, both through the defence. What is left of the noise is
their difference afterwards, projected onto that before: 1 is all of it; `rest` is what the difference has besides, in
8-bit levels. By the size of the objects (the root of their area, in sides of the image) and for what is no object.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy import ndimage

from unseg_core import storage
from unseg_core.data.sample import annotation_for, select_target
from unseg_core.degradations import LEVELS, Transform
from unseg_core.evaluate.dataset import shrunk
from unseg_core.evaluate.defences import parse_defences
from unseg_core.images import decode_image
from unseg_core.protect.manifest import open_manifest, settings_from
from unseg_core.protect.origin import open_original

DEFENCES = ("jpeg:75", "resize:0.5", "gaussian:1")
SIZES = (0.0, 0.03, 0.05, 0.08, 0.16, 1.01)
"""Between which objects are counted together."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="folder of the original data set")
    parser.add_argument("copy", help="folder of its protected copy")
    parser.add_argument("--size", type=int, default=256, help="pixels of a side that a model sees")
    parser.add_argument("--defences", nargs="+", default=list(DEFENCES))
    parser.add_argument("--images", type=int, default=32, help="the first so many protected ones")
    options = parser.parse_args()
    transforms = {}
    for text, (_, defence, value) in zip(options.defences, parse_defences(options.defences), strict=True):
        if defence.transform is None:
            raise SystemExit(f"error: {text} is a rule of training, which has no image to look at; leave it out")
        transforms[text] = defence.transform(value)
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((len(transforms), 4)))
    for before, after, places in pairs(options.source, options.copy, options.size, options.images):
        add(sums, before, after, places, list(transforms.values()))
    show(sums, list(transforms))


def pairs(source: str, copy: str, size: int, count: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, np.ndarray]]:
    """Original and copy, float32 [1, 3, size, size] in [0, 1], and the numbers of rows of the table [size, size]."""
    summary, lines = open_manifest(copy)
    settings = settings_from(summary["settings"])
    layout = open_original(settings, source)
    protected = {line.id: line.output for line in lines if line.status == "protected"}
    for sample in layout.samples():
        if not count:
            return
        output = protected.get(sample.id)
        if output is None:
            continue
        count -= 1
        original = decode_image(storage.read_file(storage.join(layout.root, sample.image)), sample.image).pixels
        changed = decode_image(storage.read_file(storage.join(copy, output)), output).pixels
        mask = select_target(annotation_for(sample, original), settings.targets, settings.classes).mask
        before, small = shrunk(original, mask, size)
        after, _ = shrunk(changed, mask, size)
        yield tensor_of(before), tensor_of(after), rows_of(small)


def tensor_of(pixels_HW3: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels_HW3.copy()).permute(2, 0, 1)[None].float() / LEVELS


def rows_of(mask_HW: np.ndarray) -> np.ndarray:
    """0 where there is no object, else the number of the interval of SIZES that its part of the mask is in."""
    parts, count = ndimage.label(mask_HW)
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    rows = np.searchsorted(SIZES, np.sqrt(areas) / mask_HW.shape[0], side="right")
    rows[0] = 0
    found: np.ndarray = rows[parts]
    return found


def add(
    sums: dict[str, np.ndarray],
    before: torch.Tensor,
    after: torch.Tensor,
    places: np.ndarray,
    transforms: Sequence[Transform],
) -> None:
    """Of every row and defence: left x noise, noise x noise, left x left, values."""
    noise = levels(after - before)
    for number, transform in enumerate(transforms):
        left = levels(defended(transform, after) - defended(transform, before))
        for row in np.unique(places):
            here, there = noise[:, places == row], left[:, places == row]
            name = "elsewhere" if row == 0 else f"{SIZES[row - 1]:g} to {min(SIZES[row], 1):g}"
            sums[name][number] += [(here * there).sum(), (here**2).sum(), (there**2).sum(), here.size]


def defended(transform: Transform, image: torch.Tensor) -> torch.Tensor:
    """Random noise of a defence is the same for the original and its copy."""
    torch.manual_seed(0)
    return transform(image)


def levels(difference: torch.Tensor) -> np.ndarray:
    values: np.ndarray = difference[0].numpy() * LEVELS
    return values


def show(sums: dict[str, np.ndarray], names: Sequence[str]) -> None:
    print(f"| objects, of the side | pixels | noise | {' | '.join(f'{name} | rest' for name in names)} |")
    print("| --- " * (3 + 2 * len(names)) + "|")
    for row in sorted(sums):
        both, noise, left, values = sums[row].T
        cells = []
        for share, rest in zip(both / noise, np.sqrt(np.maximum(left - both**2 / noise, 0) / values), strict=True):
            cells += [f"{share:.2f}", f"{rest:.1f}"]
        rms = np.sqrt(noise[0] / values[0])
        print(f"| {row} | {values[0] / 3:,.0f} | {rms:.1f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
