"""What a TIFF has besides its pixels, so that it can be written back: compression, and tags as those of GeoTIFF."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from unseg_core.errors import ImageError

BITS, COMPRESSION, SAMPLES, EXTRA_SAMPLES = 258, 259, 277, 338
LAYOUT_TAGS = frozenset({
    254, 255, 256, 257, BITS, COMPRESSION, 262, 266, 273, SAMPLES, 278, 279, 284, 292, 293, 301, 317, 318, 319, 320,
    321, 322, 323, 324, 325, 330, EXTRA_SAMPLES, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529,
    530, 531, 532, 34665, 34675, 34853, 40965,
})  # fmt: skip
"""How the pixels of the old file lie in it, and where other directories do; all other tags are carried over."""
LOSSLESS = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate")
DEFLATE = "tiff_adobe_deflate"
UNASSOCIATED_ALPHA = 2
CHANNELS = {"1": 1, "L": 1, "P": 1, "LA": 2, "RGB": 3, "RGBA": 4}


@dataclass(frozen=True, kw_only=True)
class TiffStyle:
    """How a TIFF is written."""

    compression: str = DEFLATE
    tags: dict[int, tuple[int, Any]] = field(default_factory=dict)
    """Tag -> its type and value."""


def check_tiff(image: TiffImageFile, name: str) -> None:
    """Refuse TIFFs whose channels PIL drops or changes without a word.

    Raises:
        ImageError: more than 8 bits, a band that is no colour, or colours multiplied by their alpha.
    """
    tags = image.tag_v2
    bits = max(tags.get(BITS, (1,)))
    if bits > 8:
        raise ImageError(f"{name} has {bits} bits a channel; convert it to 8 bits")
    samples = tags.get(SAMPLES, 1)
    if samples != CHANNELS[image.mode]:
        raise ImageError(f"{name} has {samples} bands; convert it to 8-bit grey or RGB")
    if image.mode in ("LA", "RGBA") and tags.get(EXTRA_SAMPLES, (0,))[0] != UNASSOCIATED_ALPHA:
        raise ImageError(f"{name} has colours multiplied by their alpha; convert it to RGB")


def tiff_style(image: TiffImageFile) -> TiffStyle:
    """Compression and tags of an open TIFF; one that was compressed with loss is written without."""
    compression = str(image.info.get("compression", "raw"))
    directory = image.tag_v2
    tags = {
        tag: (directory.tagtype[tag], value)
        for tag, value in directory.items()
        if tag not in LAYOUT_TAGS and tag in directory.tagtype
    }
    return TiffStyle(compression=compression if compression in LOSSLESS else DEFLATE, tags=tags)


def tiff_options(style: TiffStyle) -> dict[str, Any]:
    """Options of PIL's save."""
    directory = ImageFileDirectory_v2()
    for tag, (kind, value) in style.tags.items():
        directory.tagtype[tag] = kind
        directory[tag] = value
    return {"format": "TIFF", "compression": style.compression, "tiffinfo": directory}
