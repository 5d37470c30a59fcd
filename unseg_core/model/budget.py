"""The budget: how much a pixel may change, and the one place where noise becomes image.

All amplitudes here are 8-bit levels (the paper's 8/255 is 8).
"""

from __future__ import annotations

import numpy as np


def add_noise(
    image_HWC: np.ndarray, noise_3HW: np.ndarray, region_HW: np.ndarray, *, epsilon: float, epsilon_bg: float
) -> np.ndarray:
    """Add noise to an 8-bit image within the budget.

    Args:
        image_HWC: uint8 HxWx3.
        noise_3HW: float32 in [-1, 1].
        region_HW: bool, True where `epsilon` applies.

    Returns:
        uint8 HxWx3: clamped to 0..255 and rounded half to even, at most floor(epsilon) away from the image inside
        the region and floor(epsilon_bg) outside.
    """
    levels = np.where(region_HW, np.float32(epsilon), np.float32(epsilon_bg))
    bounds_HW1 = np.floor(levels)[..., None]
    image = image_HWC.astype(np.float32)
    # Not by torch: its copies start threads of their own in every thread that calls this, which slows the network down.
    noised = np.ascontiguousarray((noise_3HW * levels).transpose(1, 2, 0))
    noised += image
    np.rint(noised.clip(0.0, 255.0, out=noised), out=noised)
    return noised.clip(image - bounds_HW1, image + bounds_HW1, out=noised).astype(np.uint8)
