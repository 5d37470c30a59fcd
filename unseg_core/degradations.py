"""What images go through between their protection and a model: smoothing, resizing, compression, noise.

Defences of downstream models (evaluate/defences), and what the generator is trained against (train/degrade.py). They
act on images as a network sees them, at its resolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Transform = Callable[[Tensor], Tensor]
"""Of images float32 [B, 3, H, W] in [0, 1]."""

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


def noise(sigma: float, generator: torch.Generator | None = None) -> Transform:
    """Independent Gaussian noise of so many 8-bit levels, from the CPU's `generator` or torch's global one."""

    def add(images: Tensor) -> Tensor:
        device = None if generator else images.device
        normal = torch.randn(images.shape, generator=generator, device=device).to(images.device)
        return (images + normal * (sigma / LEVELS)).clamp(0, 1)

    return add


def resize(factor: float) -> Transform:
    """Shrunk by this factor and enlarged again (bilinear with antialias)."""

    def there_and_back(images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        small = (max(1, round(height * factor)), max(1, round(width * factor)))
        shrunk = F.interpolate(images, size=small, mode="bilinear", antialias=True)
        return F.interpolate(shrunk, size=(height, width), mode="bilinear", antialias=True)

    return there_and_back


HALF_AN_OCTAVE = 0.5


def bandstop(cycles: float) -> Transform:
    """Without the waves of this many cycles per image side and half an octave up and down, in any direction."""

    def without_band(images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        down = torch.fft.fftfreq(height, 1 / height, device=images.device)[:, None]
        across = torch.fft.rfftfreq(width, 1 / width, device=images.device)
        octaves = (torch.hypot(down, across) / cycles).log2()
        spectrum = torch.fft.rfft2(images.float()) * (octaves.abs() > HALF_AN_OCTAVE)
        filtered: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
        return filtered.clamp(0, 1)

    return without_band
