"""Transforms that take fine detail away: what a trainer can do without knowing the noise.

They act on the images as the network sees them, at its resolution.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from unseg_core.evaluate.defences.defence import Defence, Transform

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""
LEVELS = 255


def gaussian(sigma: float) -> Transform:
    """Smoothing by a Gaussian of so many pixels, cut at four of them, with reflected borders."""
    radius = max(1, math.ceil(4 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()

    def smooth(images: Tensor) -> Tensor:
        side = kernel.to(images.device)
        channels, pad = images.shape[1], min(radius, *(size - 1 for size in images.shape[-2:]))
        short = side[radius - pad : radius + pad + 1] / side[radius - pad : radius + pad + 1].sum()
        padded = F.pad(images, (pad, pad, pad, pad), mode="reflect")
        rows = F.conv2d(padded, short.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
        return F.conv2d(rows, short.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)

    return smooth


def jpeg(quality: float) -> Transform:
    """Written as JPEG of this quality (4:2:0) and read again."""

    def compress(images: Tensor) -> Tensor:
        from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

        levels = (images.detach().cpu() * LEVELS).round().clamp(0, LEVELS).to(torch.uint8)
        read = [decode_jpeg(encode_jpeg(one.contiguous(), round(quality)), ImageReadMode.RGB) for one in levels]
        return torch.stack(read).to(images.device).float() / LEVELS

    return compress


def grey(_: float) -> Transform:
    """Brightness in all three channels."""

    def without_colour(images: Tensor) -> Tensor:
        weights = torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)
        return (images * weights).sum(1, keepdim=True).expand_as(images)

    return without_colour


def bit_depth(bits: float) -> Transform:
    """So many bits for each channel."""
    steps = 2 ** round(bits) - 1
    return lambda images: (images * steps).round() / steps


def noise(sigma: float) -> Transform:
    """Independent Gaussian noise of so many 8-bit levels."""
    return lambda images: (images + torch.randn_like(images) * (sigma / LEVELS)).clamp(0, 1)


def resize(factor: float) -> Transform:
    """Shrunk by this factor and enlarged again (bilinear with antialias)."""

    def there_and_back(images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        small = (max(1, round(height * factor)), max(1, round(width * factor)))
        shrunk = F.interpolate(images, size=small, mode="bilinear", antialias=True)
        return F.interpolate(shrunk, size=(height, width), mode="bilinear", antialias=True)

    return there_and_back


GAUSSIAN = Defence(transform=gaussian, default=1.0, low=0.1, high=32)
JPEG = Defence(transform=jpeg, default=75, low=1, high=100)
GREY = Defence(transform=grey, default=1, low=1, high=1, at_test=True)
BIT_DEPTH = Defence(transform=bit_depth, default=4, low=1, high=8, at_test=True)
NOISE = Defence(transform=noise, default=16, low=0, high=255)
RESIZE = Defence(transform=resize, default=0.5, low=0.01, high=1)
