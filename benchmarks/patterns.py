"""Which noise do models learn instead of the objects? `python -m benchmarks.patterns FOLDER... --noise NOISE...`

Trains the audit's small U-Net on each kind of noise and tests it on clean images; prints the mean IoU of the classes.
With several folders of binary masks each is a class of its own; --one-class makes one of all classes. NOISE is
`clean`, a method (`unseg` with the generator that ships, unless --generator says another), or stripes made by hand:
KIND[.KIND...]/KIND, the kinds of class 1, 2, ... (in turn) and, behind the stroke, of what is no object. A KIND is one
or more waves joined by +, each a colour beside its opposite (m magenta, r red, y yellow, w white) or the channels that
it has to itself (such as RG), a direction (c columns, r rows, d diagonals, s squares) and cycles per image side:
`mc16/yd16` is the method `grating`, but its stripes begin anywhere; `Bc12+RGc40/Bd12+RGd40` is `dual-grating`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from benchmarks.rounds import machine
from unseg_core import storage
from unseg_core.audit.run import recipe_of
from unseg_core.data.layouts import open_layout
from unseg_core.data.sample import Target, annotation_for, select_target
from unseg_core.evaluate.dataset import LabelledImages, part_of, shrunk
from unseg_core.evaluate.run import train_and_test
from unseg_core.images import decode_image
from unseg_core.memory import keep_freed_memory
from unseg_core.model.generator_reference import resolve_generator
from unseg_core.params import AuditParams
from unseg_core.protect.measure import noised as noised_image
from unseg_core.protect.methods import METHODS, MethodOptions, build_method
from unseg_core.protect.methods.grating import Kind, Stripes, striped
from unseg_core.stripes import MAGENTA, RED, WHITE, YELLOW

HUES = {"m": MAGENTA, "r": RED, "y": YELLOW, "w": WHITE}
DIRECTIONS = {"c": "columns", "r": "rows", "d": "diagonals", "s": "squares"}
CPU = torch.device("cpu")

NoiseOf = Callable[[np.ndarray, Target, str], np.ndarray]
"""As Method.noise."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image with its objects, classes already those of the comparison."""

    id: str
    pixels: np.ndarray
    target: Target


def pictures(folders: Sequence[str], *, test: bool, most: int, one_class: bool, grey: bool = False) -> list[Picture]:
    """At most `most` images of a part, the same number from each folder."""
    found = []
    for number, folder in enumerate(folders, start=1):
        layout = open_layout("auto", folder)
        for sample in part_of(layout, test=test, test_share=0.25)[: most // len(folders)]:
            pixels = decode_image(storage.read_file(storage.join(folder, sample.image)), sample.image).pixels
            pixels = _without_colour(pixels) if grey else pixels
            target = select_target(annotation_for(sample, pixels), "all", layout.classes)
            if one_class or len(folders) > 1:
                category = 1 if one_class else number
                target = replace(target, segments=tuple(replace(one, category=category) for one in target.segments))
            found.append(Picture(id=f"{number} {sample.id}", pixels=pixels, target=target))
    return found


def _without_colour(pixels_HWC: np.ndarray) -> np.ndarray:
    return np.array(Image.fromarray(pixels_HWC).convert("L").convert("RGB"))


def _class_names(folders: Sequence[str], one_class: bool) -> tuple[str, ...]:
    if one_class:
        return ("object",)
    return tuple(folders) if len(folders) > 1 else open_layout("auto", folders[0]).classes


def noise_of(name: str, options: argparse.Namespace) -> NoiseOf | None:
    """None for `clean`."""
    if name == "clean":
        return None
    if name in METHODS:
        generator = resolve_generator(options.generator) if name == "unseg" else None
        method = build_method(name, MethodOptions(generator=generator, prompt=options.prompt))
        return (method.in_grey() if options.grey else method).noise
    objects, rest = name.split("/")
    kinds = [kind_of(rest), *map(kind_of, objects.split("."))]

    def noise(image_HWC: np.ndarray, target: Target, image_id: str) -> np.ndarray:
        labels = target.labels.astype(np.int64)
        return striped(kinds, np.where(labels > 0, 1 + (labels - 1) % (len(kinds) - 1), 0), (0, image_id))

    return noise


def kind_of(text: str) -> Kind:
    return tuple(map(_wave_of, text.split("+")))


def _wave_of(text: str) -> Stripes:
    found = re.fullmatch(r"([mryw]|[RGB]+)([crds])(\d+)", text)
    if found is None:
        raise SystemExit(f"{text!r} is no kind of stripes; see --help")
    red, green, blue = (int(channel in found[1]) for channel in "RGB")
    return Stripes(hue=HUES.get(found[1], (red, green, blue)), direction=DIRECTIONS[found[2]], cycles=int(found[3]))


def noised(images: Sequence[Picture], noise: NoiseOf | None, options: argparse.Namespace) -> LabelledImages:
    """All images at the resolution of the model, the noise added at their own."""
    loaded = []
    for one in images:
        pixels, mask = one.pixels, one.target.mask
        if noise is not None:
            values = noise(pixels, one.target, one.id)
            budget = {"epsilon": options.epsilon, "epsilon_bg": options.epsilon_bg}
            pixels = noised_image(pixels, values, mask, grey=options.grey, **budget)
        loaded.append(shrunk(pixels, one.target.labels.astype(np.uint8), options.size))
    return LabelledImages(
        images=torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image, _ in loaded])),
        labels=torch.from_numpy(np.stack([labels for _, labels in loaded])),
        ids=tuple(one.id for one in images),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--one-class", action="store_true", help="objects are objects, of whatever class")
    parser.add_argument("--grey", action="store_true", help="images and tests as files with one channel")
    parser.add_argument("--noise", nargs="+", default=["clean", "uniform", "synper", "grating"])
    parser.add_argument("--generator", default="small", help="of `unseg`, as in `unseg protect`")
    parser.add_argument("--prompt", default="mask", help="likewise")
    parser.add_argument("--defences", nargs="+", default=["none", "gaussian:1+noise:16"], help="joined by +")
    parser.add_argument("--epsilon", type=float, default=8)
    parser.add_argument("--epsilon-bg", type=float, default=2)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--views", type=int, default=4500, help="training images seen, counting every epoch")
    parser.add_argument(
        "--evaluate", type=json.loads, default={}, help="JSON: what the model has other than the audit's"
    )
    parser.add_argument("--images", type=int, default=400, help="at most, to train on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    print(machine("cpu", options.threads), flush=True)
    one_class = options.one_class
    how = {"one_class": one_class, "grey": options.grey}
    train = pictures(options.folders, test=False, most=options.images, **how)
    test = noised(pictures(options.folders, test=True, most=options.images // 2, **how), None, options)
    recipe = recipe_of(AuditParams(size=options.size, views=options.views, evaluate=options.evaluate), len(train))
    names = _class_names(options.folders, one_class)
    print(f"{len(train)} training and {len(test.ids)} test images, {recipe.epochs} epochs, {len(names)} classes")
    print(f"| noise | {' | '.join(options.defences)} |\n| --- |{' --- |' * len(options.defences)}", flush=True)
    for name in options.noise:
        images, scores = noised(train, noise_of(name, options), options), []
        for defences in options.defences:
            chosen = replace(recipe, defences=() if defences == "none" else tuple(defences.split("+")))
            scores.append(train_and_test(images, test, names, chosen, options.seed, CPU).iou)
        print(f"| {name} | {' | '.join(f'{score:.3f}' for score in scores)} |", flush=True)


if __name__ == "__main__":
    main()
