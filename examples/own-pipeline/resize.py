"""Make photographs and their masks no longer than SIDE: python resize.py SOURCE TARGET SIDE."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image


def resize(source: Path, target: Path, side: int) -> None:
    """Write a smaller image; masks keep their values."""
    resample = Image.Resampling.NEAREST if source.parent.name == "masks" else Image.Resampling.LANCZOS
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        image.thumbnail((side, side), resample)
        image.save(target)


if __name__ == "__main__":
    root, out, longest = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    for path in sorted(root.glob("*/*.png")):
        resize(path, out / path.relative_to(root), longest)
