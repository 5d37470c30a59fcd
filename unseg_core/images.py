"""Decoding and encoding, with limits that untrusted files cannot pass.

Images are handled as stored: an EXIF orientation is carried over, not applied, so that masks keep fitting.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from unseg_core.errors import ImageError
from unseg_core.exif import without_thumbnail
from unseg_core.tiff import TiffStyle, check_tiff, tiff_options, tiff_style

PNG_DEPTH = 24
"""Where a PNG says its bits a channel."""
MAX_PIXELS = 200_000_000
"""Larger images are refused: a small file can claim any size (decompression bomb)."""

ImageFormat = Literal["png", "jpeg", "tiff", "bmp", "webp"]
MPO = "MPO"
"""A JPEG with further pictures behind it, as phones write them: depth, or a preview. The first is the image."""
FORMATS: dict[str, ImageFormat] = {
    "PNG": "png",
    "JPEG": "jpeg",
    MPO: "jpeg",
    "TIFF": "tiff",
    "BMP": "bmp",
    "WEBP": "webp",
}
LOSSLESS = frozenset({"png", "tiff", "bmp", "webp"})
"""As they are written; a WebP that is read may have lost something before."""
LOSSY_SOURCES = frozenset({"JPEG", MPO, "WEBP"})
SUFFIXES: dict[ImageFormat, tuple[str, ...]] = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg", ".jfif"),
    "tiff": (".tif", ".tiff"),
    "bmp": (".bmp",),
    "webp": (".webp",),
}
"""Of file names, the one for new files first."""
ENCODINGS: dict[ImageFormat, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 4},
    "jpeg": {"format": "JPEG", "quality": 100, "subsampling": 0},
    "bmp": {"format": "BMP"},
    "webp": {"format": "WEBP", "lossless": True, "exact": True, "quality": 20, "method": 2},
}
"""How PIL writes them; TIFF is written as it was."""
EXTENSIONS = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded image and what is needed to write it back the way it was."""

    pixels: np.ndarray
    """uint8 HxWx3; a grey image has three equal channels."""
    format: ImageFormat
    grey: bool = False
    """The file has one channel and is written with one."""
    alpha: np.ndarray | None = None
    """uint8 HxW, carried over."""
    exif: bytes = b""
    icc_profile: bytes = b""
    tiff: TiffStyle = field(default_factory=TiffStyle)


def _open(data: bytes, name: str) -> Image.Image:
    """Open and fully decode; every failure of PIL becomes an ImageError."""
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); fetch the file again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            if image.format not in FORMATS:
                raise ImageError(f"{name} is {image.format}; convert it to PNG or JPEG")
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"{name} claims {image.width}x{image.height} pixels, over the limit of {MAX_PIXELS:,}")
            if getattr(image, "n_frames", 1) > 1 and image.format != MPO:
                raise ImageError(f"{name} has several frames; give one image a file")
            image.load()
    except ImageError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise undecodable(name, error) from None
    return image


def undecodable(name: str, error: Exception) -> ImageError:
    """What PIL says of a file it does not know holds the address of an object, which differs from run to run."""
    reason = "no image, or damaged where it begins" if isinstance(error, UnidentifiedImageError) else str(error)
    return ImageError(f"{name} cannot be decoded ({reason}); replace the file")


def decode_image(data: bytes, name: str) -> Picture:
    """Decode PNG, JPEG, TIFF, BMP or WebP of 8 bits a channel: grey, RGB, either with alpha, palette, black and white.

    Of EXIF the small picture of the image is left out.

    Raises:
        ImageError: damaged, too large, or of another kind; the message names the file.
    """
    image = _open(data, name)
    if image.mode not in ("L", "RGB", "LA", "RGBA", "P", "1"):
        raise ImageError(f"{name} has the pixel type {image.mode}; convert it to 8-bit grey or RGB")
    _check_channels(image, data, name)
    alpha = np.asarray(image.getchannel("A")) if image.mode in ("LA", "RGBA") else None
    if "transparency" in image.info and alpha is None:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    is_tiff = isinstance(image, TiffImageFile)
    return Picture(
        pixels=np.array(image if image.mode == "RGB" else image.convert("RGB")),
        format=FORMATS[str(image.format)],
        grey=image.mode in ("L", "LA", "1"),
        alpha=alpha,
        exif=b"" if is_tiff else without_thumbnail(image.info.get("exif") or b""),
        icc_profile=image.info.get("icc_profile") or b"",
        tiff=tiff_style(image) if isinstance(image, TiffImageFile) else TiffStyle(),
    )


def _check_channels(image: Image.Image, data: bytes, name: str) -> None:
    """Refuse what PIL would silently lose: 16 bits a channel, more bands, premultiplied alpha, the alpha of a BMP."""
    if image.format == "PNG" and data[PNG_DEPTH] > 8:
        raise ImageError(f"{name} has {data[PNG_DEPTH]} bits a channel; convert it to 8 bits")
    if image.format == "BMP" and image.mode == "RGBA":
        raise ImageError(f"{name} is a BMP with alpha; convert it to PNG")
    if isinstance(image, TiffImageFile):
        check_tiff(image, name)


def encode_image(pixels: np.ndarray, picture: Picture, image_format: ImageFormat) -> bytes:
    """Encode uint8 HxWx3 with the colour type and metadata of `picture`.

    JPEG is quality 100 without chroma subsampling, all others are lossless. A grey picture must have equal channels.

    Raises:
        ImageError: the format cannot hold it (as JPEG sides over 65,500 pixels, or what is transparent).
    """
    if image_format == "jpeg" and picture.alpha is not None and picture.alpha.min() < 255:
        raise ImageError("the image is transparent in places, which JPEG cannot be; choose image_format png")
    image = Image.fromarray(pixels[:, :, 0] if picture.grey else pixels)
    if picture.alpha is not None and image_format != "jpeg":
        image.putalpha(Image.fromarray(picture.alpha))
    options = tiff_options(picture.tiff) if image_format == "tiff" else dict(ENCODINGS[image_format])
    if picture.exif and image_format not in ("tiff", "bmp"):
        options["exif"] = picture.exif
    if picture.icc_profile:
        options["icc_profile"] = picture.icc_profile
    buffer = io.BytesIO()
    try:
        image.save(buffer, **options)
    except (OSError, ValueError) as error:
        raise ImageError(f"the image cannot be written as {image_format} ({error}); choose image_format png") from None
    return buffer.getvalue()


def decode_label_map(data: bytes, name: str, *, labels: bool = False) -> tuple[np.ndarray, bool]:
    """Decode a mask file: uint8 HxW values (palette indices for palette files), and whether it is lossless.

    Args:
        labels: values are class numbers, so that colours cannot be told apart by their brightness.

    Raises:
        ImageError: damaged, too large, deeper than 8 bits, or coloured although its values are class numbers.
    """
    image = _open(data, name)
    is_lossless = image.format not in LOSSY_SOURCES
    if not labels:
        image = _of_binary_mask(image)
    if image.mode in ("RGB", "RGBA", "LA"):
        if labels and _has_colour(image):
            raise ImageError(f"{name} is a colour picture; give class numbers as a grey or palette PNG")
        image = image.convert("L")
    if image.mode == "1":
        return np.array(image).astype(np.uint8), True
    if image.mode not in ("L", "P"):
        raise ImageError(f"{name} has the pixel type {image.mode}; masks need 8 bits a pixel")
    return np.array(image), is_lossless


def _of_binary_mask(image: Image.Image) -> Image.Image:
    """What is seen: the alpha of a picture of one colour, and greys of a palette, whose numbers may be any."""
    if image.mode in ("RGBA", "LA"):
        *colours, alpha = image.split()
        is_plain = all(low == high for low, high in (one.getextrema() for one in colours))
        low, high = alpha.getextrema()
        return alpha if is_plain and low != high else image
    if image.mode == "P":
        palette, numbers = np.array(image.getpalette("RGB")).reshape(-1, 3), np.unique(np.asarray(image))
        used = palette[numbers[numbers < len(palette)]]
        is_grey = (used == used[:, :1]).all() and len(np.unique(used[:, 0])) == len(numbers)
        return image.convert("L") if is_grey else image
    return image


def decode_id_map(data: bytes, name: str) -> np.ndarray:
    """Decode numbers of segments, int32 HxW: 16-bit or 8-bit grey as they are, colours as R + 256 G + 256^2 B.

    Raises:
        ImageError: damaged, too large, lossy, or of another pixel type.
    """
    image = _open(data, name)
    if image.format in LOSSY_SOURCES:
        raise ImageError(f"{name} is {image.format}, which may change the numbers of segments; give a PNG")
    if image.mode == "RGB":
        _check_channels(image, data, name)
        red, green, blue = np.moveaxis(np.asarray(image).astype(np.int32), -1, 0)
        ids: np.ndarray = red + 256 * green + 65_536 * blue
        return ids
    if image.mode not in ("L", "I", "I;16", "I;16B"):
        raise ImageError(f"{name} has the pixel type {image.mode}; numbers of segments are grey or RGB")
    return np.array(image).astype(np.int32)


def _has_colour(image: Image.Image) -> bool:
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
    return not (np.array_equal(red, green) and np.array_equal(red, blue))


def encode_png(pixels: np.ndarray) -> bytes:
    """Lossless PNG of uint8 HxW or HxWx3."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def resize_nearest(mask_HW: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest neighbour: source index floor(i * old / new)."""
    rows = np.arange(height) * mask_HW.shape[0] // height
    columns = np.arange(width) * mask_HW.shape[1] // width
    resized: np.ndarray = mask_HW[rows[:, None], columns[None, :]]
    return resized
