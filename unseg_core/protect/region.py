"""From an object mask to the protected region.

The label goes through 1024 and 256 pixels as in the published generation scripts (docs/method.md, "Generation"),
whatever the size of the network, so that the region depends on the mask alone and can be checked without a network.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

LABEL_SIZE = 1024
REGION_SIZE = 256
KEPT = 0.9
"""Of an object that is large and compact far more survives (docs/experiments.md, 26)."""


def square_label(mask_HW: np.ndarray) -> np.ndarray:
    """float32 256x256, 0 or 1: padded to a square, nearest to 1024, bilinear to 256, rounded half to even.

    Half-pixel centres put each of the 256 in the middle of four of the 1024, with equal weights, so that rounding gives
    1 where three or four of them are set. Only those are looked up.
    """
    side = max(mask_HW.shape)
    places = np.arange(REGION_SIZE) * (LABEL_SIZE // REGION_SIZE)
    first, second = (_nearest(places + offset, side) for offset in (1, 2))
    mask = mask_HW.astype(bool, copy=False).view(np.uint8)
    rows = np.ascontiguousarray((_taken(mask, first) + _taken(mask, second)).T)
    count = _taken(rows, first) + _taken(rows, second)
    label: np.ndarray = (count.T >= 3).astype(np.float32)
    return label


def _nearest(places: np.ndarray, side: int) -> np.ndarray:
    """Where pixels of the 1024 lie in the square."""
    found: np.ndarray = places * side // LABEL_SIZE
    return found


def _taken(image_HW: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows of the padded square: 0 below the image."""
    taken: np.ndarray = image_HW[np.minimum(rows, image_HW.shape[0] - 1)]
    taken[rows >= image_HW.shape[0]] = 0
    return taken


def protected_region(mask_HW: np.ndarray, *, each_object: bool = True) -> np.ndarray:
    """The region in which epsilon applies: the 256-pixel label enlarged to the image and rounded, bool HxW.

    An object too small to survive that keeps its own pixels, so that no object is left at epsilon_bg.

    Args:
        each_object: what hangs together in the mask is an object, and kept whole if less than KEPT of it survives, as
            what is small or thin does not. False: all of the mask is one, as in copies of versions before 0.2.4.
    """
    height, width = mask_HW.shape
    label = square_label(mask_HW)
    rows, columns = _positions(height, max(height, width)), _positions(width, max(height, width))
    region = np.ascontiguousarray(_between(np.ascontiguousarray(_between(label, *rows).T), *columns).T > 0.5)
    if each_object:
        region |= _lost(mask_HW, region)
        return region
    return region if region.any() else mask_HW.astype(bool)


def _lost(mask_HW: np.ndarray, region_HW: np.ndarray) -> np.ndarray:
    """Objects of which less than KEPT is in the region, bool HxW."""
    labels, count = ndimage.label(mask_HW)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    is_lost = np.bincount(labels[region_HW], minlength=count + 1) < KEPT * areas
    is_lost[0] = False
    where: np.ndarray = is_lost[labels]
    return where


def _positions(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the first `count` of `side` pixels lie in the label: the row before each, and the share of the next one.

    Half-pixel centres. Many pixels lie exactly between two rows of the label, where the last bit decides about the
    region, and libraries differ in it from processor to processor. Here it is the same everywhere, and the golden
    images': a float32 with one rounding, as of a fused multiply-add.
    """
    factor = np.float64(np.float32(REGION_SIZE / side))
    position = ((np.arange(count) + 0.5) * factor - 0.5).astype(np.float32).clip(0, REGION_SIZE - 1)
    before = np.floor(position)
    return before.astype(np.int64), position - before


def _between(image_HW: np.ndarray, before: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Linear interpolation between rows, float32."""
    after = np.minimum(before + 1, REGION_SIZE - 1)
    blend: np.ndarray = image_HW[before]
    other: np.ndarray = image_HW[after]
    blend *= (np.float32(1) - share)[:, None]
    other *= share[:, None]
    blend += other
    return blend
