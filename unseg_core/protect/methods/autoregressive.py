"""AR: autoregressive noise, one process per class.

Sandoval-Segura, Singla, Geiping, Goldblum, Goldstein, Jacobs: Autoregressive Perturbations for Data Poisoning, NeurIPS
2022. In a 3x3 window the last pixel is the weighted sum of the eight before it; the weights, which sum to 1, belong to
the class and the channel, and the first rows and columns are drawn anew for every image.

For segmentation the image is cut into tiles of 32x32 pixels (the paper's CIFAR image). In every tile each class that
occurs there is rolled out over all of it and shown on its own pixels. Weights are drawn until a process neither dies
out nor explodes within a tile. The noise of a class in a tile is scaled, channel by channel, so that its largest value
is at the budget (the paper bounds its Euclidean length); it is not clipped, which would break the recurrence.

Axes in names: N processes that run side by side, P pairs of a tile and a class in it, T pixels of a tile's side.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from unseg_core.data.sample import Target
from unseg_core.protect.methods.class_map import class_map, stream
from unseg_core.protect.methods.method import Method

TILE = 32
WINDOW = 3
EDGE = WINDOW - 1
"""Rows and columns that are drawn at random."""
TILES = 256
"""Tiles in work at one time, at least a row of them."""
CANDIDATES = 192
STARTS = 4
STEADY = 2.0
"""How much the standard deviations of the four quarters of a tile may differ; 1 in 12 random processes passes."""


@dataclass(frozen=True, kw_only=True)
class AutoregressiveNoise(Method):
    """A method: noise that the class's recurrence continues."""

    seed: int = 0
    name: str = "ar"

    def noise(self, image_HWC: np.ndarray, target: Target, image_id: str) -> np.ndarray:
        classes = class_map(target)
        weights_83K = np.stack([class_weights(self.seed, category) for category in classes.categories], axis=-1)
        band = max(1, TILES * TILE // max(target.width, TILE)) * TILE
        noise = np.empty((3, target.height, target.width), dtype=np.float32)
        for top in range(0, target.height, band):
            rng = stream("ar", self.seed, image_id, top)
            noise[:, top : top + band] = _band_noise(classes.index[top : top + band], weights_83K, rng)
        return noise


def _band_noise(index_HW: np.ndarray, weights_83K: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 3xHxW for pixels of the classes `index_HW`."""
    (height, width), count = index_HW.shape, weights_83K.shape[2]
    rows, columns = np.arange(height)[:, None], np.arange(width)
    tile_HW = rows // TILE * -(-width // TILE) + columns // TILE
    cell_HW = rows % TILE * TILE + columns % TILE
    pairs, pair_HW = np.unique(tile_HW * count + index_HW, return_inverse=True)
    pair_HW = pair_HW.reshape(height, width)
    weights_83P = weights_83K[:, :, pairs % count]
    rolled = roll_out(weights_83P.reshape(8, -1), rng).reshape(TILE * TILE, 3, pairs.size)
    own = np.zeros((TILE * TILE, 1, pairs.size), dtype=np.float32)
    own[cell_HW, 0, pair_HW] = 1
    rolled /= np.maximum(np.abs(rolled * own).max(axis=0), np.finfo(np.float32).tiny)
    return np.stack([rolled[cell_HW, channel, pair_HW] for channel in range(3)])


def roll_out(weights_8N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A tile of every process: float32 TxTxN, from normal values above and left of it.

    Args:
        weights_8N: of a window's first eight pixels, row by row.
    """
    side, count = TILE + EDGE, weights_8N.shape[1]
    tile = np.empty((side, side, count), dtype=np.float32)
    tile[:EDGE] = rng.standard_normal((EDGE, side, count), dtype=np.float32)
    tile[EDGE:, :EDGE] = rng.standard_normal((TILE, EDGE, count), dtype=np.float32)
    for y in range(EDGE, side):
        above = sum(
            weights_8N[WINDOW * row + column] * tile[y - EDGE + row, column : column + TILE]
            for row in range(EDGE)
            for column in range(WINDOW)
        )
        for x in range(EDGE, side):
            tile[y, x] = above[x - EDGE] + weights_8N[6] * tile[y, x - 2] + weights_8N[7] * tile[y, x - 1]
    return tile[EDGE:, EDGE:]


@functools.lru_cache(maxsize=4096)
def class_weights(seed: int, category: int) -> np.ndarray:
    """float32 8x3: the weights of a class, a column per channel."""
    rng = stream("ar", seed, category)
    found = np.empty((8, 0), dtype=np.float32)
    while found.shape[1] < 3:
        drawn = rng.standard_normal((8, CANDIDATES), dtype=np.float32)
        drawn /= drawn.sum(axis=0)
        found = np.concatenate([found, drawn[:, _is_steady(drawn, rng)]], axis=1)
    weights = found[:, :3]
    weights.flags.writeable = False
    return weights


def _is_steady(weights_8N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """bool N: True where the four quarters of a tile vary about as much."""
    # Most processes explode, which is what this is to find out.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        tiles = roll_out(np.repeat(weights_8N, STARTS, axis=1), rng)
        quarters = tiles.reshape(2, TILE // 2, 2, TILE // 2, -1, STARTS)
        spread = quarters.std(axis=(1, 3, 5)).reshape(4, -1)
        steady: np.ndarray = spread.max(axis=0) < STEADY * spread.min(axis=0)
    return steady
