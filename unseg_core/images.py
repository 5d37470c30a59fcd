"""Decoding, encoding and the resize-and-pad geometry, with limits that untrusted files cannot pass.

Images are handled as stored: an EXIF orientation is carried over, not applied, so that masks keep fitting.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from unseg_core.errors import ImageError

MAX_PIXELS = 200_000_000
"""Larger images are refused: a small file can claim any size (decompression bomb)."""

FORMATS = {"PNG": "png", "JPEG": "jpeg"}
EXTENSIONS = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded image and what is needed to write it back the way it was."""

    pixels: np.ndarray
    """uint8 HxWx3; a grey image has three equal channels."""
    format: Literal["png", "jpeg"]
    grey: bool = False
    """The file has one channel and is written with one."""
    alpha: np.ndarray | None = None
    """uint8 HxW, carried over."""
    exif: bytes = b""
    icc_profile: bytes = b""


def _open(data: bytes, name: str) -> Image.Image:
    """Open and fully decode; every failure of PIL becomes an ImageError."""
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); fetch the file again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"{name} claims {image.width}x{image.height} pixels, over the limit of {MAX_PIXELS:,}")
            if getattr(image, "n_frames", 1) > 1:
                raise ImageError(f"{name} has several frames; give one image a file")
            image.load()
    except ImageError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{name} cannot be decoded ({error}); replace the file") from None
    return image


def decode_image(data: bytes, name: str) -> Picture:
    """Decode a PNG or JPEG of 8 bits a channel: grey, RGB, grey or RGB with alpha, or palette.

    Raises:
        ImageError: damaged, too large, or of another kind; the message names the file.
    """
    image = _open(data, name)
    if image.format not in FORMATS:
        raise ImageError(f"{name} is {image.format or 'of unknown format'}; convert it to PNG or JPEG")
    if image.mode not in ("L", "RGB", "LA", "RGBA", "P", "1"):
        raise ImageError(f"{name} has the pixel type {image.mode}; convert it to 8-bit grey or RGB")
    alpha = np.asarray(image.getchannel("A")) if image.mode in ("LA", "RGBA") else None
    if "transparency" in image.info and alpha is None:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return Picture(
        pixels=np.array(image.convert("RGB")),
        format="png" if image.format == "PNG" else "jpeg",
        grey=image.mode in ("L", "LA", "1"),
        alpha=alpha,
        exif=image.info.get("exif", b""),
        icc_profile=image.info.get("icc_profile", b""),
    )


def encode_image(pixels: np.ndarray, picture: Picture, image_format: Literal["png", "jpeg"]) -> bytes:
    """Encode uint8 HxWx3 with the colour type and metadata of `picture`.

    PNG is lossless; JPEG is quality 100 without chroma subsampling. A grey picture must have equal channels.
    """
    image = Image.fromarray(pixels[:, :, 0] if picture.grey else pixels)
    if picture.alpha is not None and image_format == "png":
        image.putalpha(Image.fromarray(picture.alpha))
    options: dict[str, object] = {"format": "PNG", "compress_level": 4}
    if image_format == "jpeg":
        options = {"format": "JPEG", "quality": 100, "subsampling": 0}
    if picture.exif:
        options["exif"] = picture.exif
    if picture.icc_profile:
        options["icc_profile"] = picture.icc_profile
    buffer = io.BytesIO()
    image.save(buffer, **options)  # type: ignore[arg-type]  # PIL types its options as Any by keyword only
    return buffer.getvalue()


def decode_label_map(data: bytes, name: str) -> tuple[np.ndarray, bool]:
    """Decode a mask file: uint8 HxW values (palette indices for palette files), and whether it is lossless.

    Raises:
        ImageError: damaged, too large, or deeper than 8 bits.
    """
    image = _open(data, name)
    if image.mode in ("RGB", "RGBA", "LA"):
        image = image.convert("L")
    if image.mode == "1":
        return np.array(image).astype(np.uint8), True
    if image.mode not in ("L", "P"):
        raise ImageError(f"{name} has the pixel type {image.mode}; masks need 8 bits a pixel")
    return np.array(image), image.format != "JPEG"


def encode_png(pixels: np.ndarray) -> bytes:
    """Lossless PNG of uint8 HxW or HxWx3."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def pad_to_square(image_CHW: Tensor) -> Tensor:
    """Zero-pad at the right and bottom to a square of the longer side."""
    height, width = image_CHW.shape[-2:]
    side = max(height, width)
    return F.pad(image_CHW, (0, side - width, 0, side - height))


def resize_bilinear(image_CHW: Tensor, side: int) -> Tensor:
    """To side x side: bilinear, half-pixel centres, no antialias (the method's one resize of images)."""
    return F.interpolate(image_CHW[None], size=(side, side), mode="bilinear", align_corners=False)[0]


def resize_nearest(mask_HW: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest neighbour: source index floor(i * old / new)."""
    rows = np.arange(height) * mask_HW.shape[0] // height
    columns = np.arange(width) * mask_HW.shape[1] // width
    resized: np.ndarray = mask_HW[rows[:, None], columns[None, :]]
    return resized


def network_input(image_HWC: np.ndarray, side: int) -> Tensor:
    """uint8 HxWx3 to float32 [3, side, side] in [0, 1]: zero-padded to a square, then resized."""
    image = torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1))).float()
    return resize_bilinear(pad_to_square(image), side) / 255.0
