"""Gallery images: the noise made visible, the mask laid over, and all of them as data: URIs."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SIDE = 320
"""Longest side shown, in pixels; larger images are reduced for the page only."""

NOISE_GAIN = 16
_TINT = (235.0, 96.0, 40.0)
# The overlay only says where the region is; the other pictures are lossless.
_OVERLAY_QUALITY = 70


def amplified_noise(clean_HW3: NDArray[np.uint8], protected_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """128 + 16 * (protected - clean), clipped to 0..255, HxWx3 uint8: grey is no change."""
    noise = protected_HW3.astype(np.int32) - clean_HW3.astype(np.int32)
    amplified: NDArray[np.uint8] = np.clip(128 + NOISE_GAIN * noise, 0, 255).astype(np.uint8)
    return amplified


def overlay(clean_HW3: NDArray[np.uint8], region_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The image in grey, its protected region tinted; HxWx3 uint8."""
    grey = clean_HW3.astype(np.float64).mean(axis=2, keepdims=True)
    tinted = 0.45 * grey + 0.55 * np.array(_TINT)
    shaded: NDArray[np.float64] = np.where(region_HW[:, :, None], tinted, 0.75 * grey + 40.0)
    return shaded.round().astype(np.uint8)


def shown(image_HW3: NDArray[np.uint8], *, nearest: bool = False) -> NDArray[np.uint8]:
    """The image, reduced so that its long side is at most MAX_SIDE; `nearest` keeps single values, else averages."""
    height, width = image_HW3.shape[:2]
    scale = MAX_SIDE / max(height, width)
    if scale >= 1:
        return image_HW3
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image_HW3).resize(size, how))


def lossless_uri(image_HW3: NDArray[np.uint8]) -> str:
    """A data: URI of PNG or lossless WebP, whichever is smaller."""
    image = Image.fromarray(image_HW3)
    png = _encoded(image, "PNG", optimize=True)
    webp = _encoded(image, "WEBP", lossless=True, quality=80, method=4, exact=True)
    kind, data = ("webp", webp) if len(webp) < len(png) else ("png", png)
    return _uri(kind, data)


def sketch_uri(image_HW3: NDArray[np.uint8]) -> str:
    """A data: URI of lossy WebP, for pictures that only point at something."""
    return _uri("webp", _encoded(Image.fromarray(image_HW3), "WEBP", quality=_OVERLAY_QUALITY, method=4))


def _encoded(image: Image.Image, kind: str, **options: bool | int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
