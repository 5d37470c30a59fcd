"""All objects of a data set as one class: `python -m benchmarks.one_mask SOURCE TARGET`.

Writes TARGET/images, the images as they are, and TARGET/masks, PNG of 0 and 255 with every object of whatever class.
For measuring on data sets of instances what binary masks are protected like.
"""

from __future__ import annotations

import argparse
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from unseg_core import storage
from unseg_core.data.layouts import open_layout
from unseg_core.data.sample import annotation_for, select_target
from unseg_core.images import decode_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    layout = open_layout("auto", options.source)
    for folder in ("images", "masks"):
        (options.target / folder).mkdir(parents=True)
    for sample in layout.samples():
        data = storage.read_file(storage.join(options.source, sample.image))
        pixels = decode_image(data, sample.image).pixels
        mask = select_target(annotation_for(sample, pixels), "all", layout.classes).mask
        name = PurePosixPath(sample.image)
        with (options.target / "images" / name.name).open("xb") as file:  # two of one name would be one
            file.write(data)
        Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(options.target / "masks" / f"{name.stem}.png")


if __name__ == "__main__":
    main()
