"""Applying and measuring a change in bands of rows that fit a processor's cache, so that an image of any size needs
little memory beside itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from unseg_core.model.budget import add_noise

BAND_PIXELS = 10_000
EXCESS = 2
"""Levels by which JPEG's rounding may go over the budget at quality 100 without chroma subsampling."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """How two images differ."""

    linf_inside: int
    """8-bit levels, inside the region; 0 if it is empty."""
    linf_outside: int
    psnr: float
    """dB; 100.0 for equal images, so that the value stays finite."""
    excess_share: float
    """Share of the pixels that change by more than two levels over their budget."""


def _bands(height: int, width: int) -> Iterator[slice]:
    rows = max(1, BAND_PIXELS // max(width, 1))
    return (slice(start, start + rows) for start in range(0, height, rows))


def noised(
    image_HWC: np.ndarray,
    noise_3HW: np.ndarray,
    region_HW: np.ndarray,
    *,
    epsilon: float,
    epsilon_bg: float,
    grey: bool = False,
) -> np.ndarray:
    """`add_noise` in bands; a grey image gets the noise of the green channel, which carries most brightness."""
    changed = np.empty_like(image_HWC)
    for rows in _bands(*region_HW.shape):
        noise = noise_3HW[:, rows]
        if grey:
            noise = np.broadcast_to(noise[1:2], noise.shape)
        changed[rows] = add_noise(image_HWC[rows], noise, region_HW[rows], epsilon=epsilon, epsilon_bg=epsilon_bg)
    return changed


def measure(
    original_HWC: np.ndarray, written_HWC: np.ndarray, region_HW: np.ndarray, *, epsilon: float, epsilon_bg: float
) -> Change:
    """Compare two uint8 HxWx3 images; `region_HW` is bool. Sums are exact integers."""
    inside = outside = squares = beyond = 0
    for rows in _bands(*region_HW.shape):
        first, second, region = original_HWC[rows], written_HWC[rows], region_HW[rows]
        difference = np.maximum(first, second) - np.minimum(first, second)
        wide = difference.ravel().astype(np.float32)
        # Exact: a band's sum of squares is below 2 ** 53, and einsum sums in float64 here.
        squares += int(np.einsum("i,i->", wide, wide, dtype=np.float64))
        largest = np.maximum(np.maximum(difference[..., 0], difference[..., 1]), difference[..., 2])
        within, without = int((largest * region).max(initial=0)), int((largest * ~region).max(initial=0))
        inside, outside = max(inside, within), max(outside, without)
        if within > epsilon + EXCESS or without > epsilon_bg + EXCESS:
            beyond += int((largest > np.where(region, epsilon + EXCESS, epsilon_bg + EXCESS)).sum())
    share = beyond / max(region_HW.size, 1)
    psnr = _psnr(squares, original_HWC.size)
    return Change(linf_inside=inside, linf_outside=outside, psnr=psnr, excess_share=share)


def pulled_in(
    changed_HWC: np.ndarray,
    written_HWC: np.ndarray,
    original_HWC: np.ndarray,
    region_HW: np.ndarray,
    *,
    epsilon: float,
    epsilon_bg: float,
) -> np.ndarray:
    """What to encode next if `changed_HWC` came out as `written_HWC`: moved back where that is far over the budget."""
    pulled = np.empty_like(changed_HWC)
    for rows in _bands(*region_HW.shape):
        original = original_HWC[rows].astype(np.int16)
        bound = np.where(region_HW[rows], int(epsilon), int(epsilon_bg)).astype(np.int16)[..., None]
        written = written_HWC[rows].astype(np.int16)
        over = written - np.clip(written, original - bound, original + bound)
        # Only what is far over: every change draws the rounding errors around it anew.
        pulled[rows] = np.clip(changed_HWC[rows] - np.where(np.abs(over) > EXCESS, over, 0), 0, 255)
    return pulled


def _psnr(squares: int, values: int) -> float:
    if squares == 0:
        return 100.0
    return min(100.0, float(10 * np.log10(255.0**2 * values / squares)))
