"""Procedural textures for synthetic scenes.

A texture takes a random generator and two coordinate fields of equal shape, measured in grains (one grain is the
smallest feature of a scene, at least three pixels), and returns a float64 field of the same shape in [0, 1].
Everything is float64: rounding differences between processors then stay far below one grey level, so a seed gives
the same bytes on every machine.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.float64]
Texture = Callable[[Generator, Field, Field], Field]

_LATTICE_BITS = 5
_LATTICE_SIDE = 1 << _LATTICE_BITS
_LATTICE_MASK = _LATTICE_SIDE - 1


def value_noise(rng: Generator, x: Field, y: Field, *, octaves: int) -> Field:
    """Sum of `octaves` layers of interpolated lattice noise, each half as coarse and half as strong as the one before.

    The coarsest cells are `2 ** (octaves - 1)` units wide and the finest one unit.
    """
    total = np.zeros(x.shape)
    weight = 0.0
    for octave in range(octaves):
        cells = 2.0**-octave
        offset_x, offset_y = rng.uniform(0.0, _LATTICE_SIDE, 2)
        total += _lattice_noise(rng, x * cells + offset_x, y * cells + offset_y) / cells
        weight += 1.0 / cells
    return total / weight


def noise(rng: Generator, x: Field, y: Field) -> Field:
    """Cloudy patches of several scales, stretched to more contrast than plain value noise has."""
    return _contrast(value_noise(rng, x, y, octaves=4), gain=2.2)


def stripes(rng: Generator, x: Field, y: Field) -> Field:
    """Slightly wavy parallel bands of random width."""
    wavelength = rng.uniform(1.1, 1.6)
    wave = value_noise(rng, x / 3.0, y / 3.0, octaves=1) - 0.5
    phase = x / wavelength + rng.uniform(0.3, 0.9) * wave + rng.uniform()
    return _contrast(0.5 + 0.5 * np.sin(2.0 * np.pi * phase), gain=rng.uniform(1.5, 2.5))


def bricks(rng: Generator, x: Field, y: Field) -> Field:
    """Running-bond bricks of random tone between dark mortar lines."""
    height = rng.uniform(1.4, 2.0)
    width = height * rng.uniform(1.5, 2.3)
    row = np.floor(y / height)
    along = x / width + 0.5 * (row % 2.0) + rng.uniform()
    column = np.floor(along)
    to_line = np.minimum(_to_cell_edge(along) * width, _to_cell_edge(y / height) * height)
    mortar = np.clip(to_line / rng.uniform(0.35, 0.45), 0.0, 1.0)
    tone = rng.uniform(0.55, 1.0, (_LATTICE_SIDE, _LATTICE_SIDE))
    return mortar * _at_cell(tone, column, row)


def checker(rng: Generator, x: Field, y: Field) -> Field:
    """Square tiles of two alternating tones, each with some variation."""
    side = rng.uniform(1.2, 3.0)
    column, row = np.floor(x / side), np.floor(y / side)
    tone = rng.uniform(0.0, 0.35, (_LATTICE_SIDE, _LATTICE_SIDE))
    return 0.65 * ((column + row) % 2.0) + _at_cell(tone, column, row)


def speckle(rng: Generator, x: Field, y: Field) -> Field:
    """Round dots of random size, darker than the ground, one at a random place in each cell of a grid."""
    pitch = rng.uniform(1.1, 1.5)
    turned_x, turned_y = _turn(x, y, rng.uniform(0.0, np.pi))
    cell_x, cell_y = turned_x / pitch, turned_y / pitch
    column, row = np.floor(cell_x), np.floor(cell_y)
    radius = rng.uniform(0.22, 0.42, (_LATTICE_SIDE, _LATTICE_SIDE))
    room = 1.0 - 2.0 * radius
    centre_x = radius + room * rng.uniform(size=radius.shape)
    centre_y = radius + room * rng.uniform(size=radius.shape)
    from_centre = np.hypot(
        cell_x - column - _at_cell(centre_x, column, row), cell_y - row - _at_cell(centre_y, column, row)
    )
    return np.clip((from_centre - _at_cell(radius, column, row)) / 0.2 + 0.5, 0.0, 1.0)


def veins(rng: Generator, x: Field, y: Field) -> Field:
    """A bright middle rib along x with side veins that leave it at an angle; repeats every fourteen grains across."""
    from_rib = np.abs((y / 14.0 + 0.5) % 1.0 - 0.5) * 14.0
    side = (x - rng.uniform(0.6, 1.3) * from_rib) / rng.uniform(1.2, 1.6) + rng.uniform()
    side_vein = np.clip(1.0 - _to_cell_edge(side) / 0.3, 0.0, 1.0)
    rib = np.clip(1.4 - from_rib / 0.5, 0.0, 1.0)
    return np.maximum(0.8 * side_vein, rib)


def gradient(rng: Generator, x: Field, y: Field) -> Field:
    """A smooth ramp in a random direction with faint clouds on it."""
    turned_x, _ = _turn(x, y, rng.uniform(0.0, 2.0 * np.pi))
    span = max(float(np.ptp(turned_x)), 1e-6)
    ramp = (turned_x - turned_x.min()) / span
    clouded: Field = 0.75 * ramp + 0.25 * value_noise(rng, x, y, octaves=3)
    return clouded


TEXTURES: dict[str, Texture] = {
    "noise": noise,
    "stripes": stripes,
    "bricks": bricks,
    "checker": checker,
    "speckle": speckle,
    "veins": veins,
    "gradient": gradient,
}


def _lattice_noise(rng: Generator, x: Field, y: Field) -> Field:
    """One layer of value noise with cells of one unit, in [0, 1]; the lattice repeats every `_LATTICE_SIDE` units."""
    lattice = rng.random((_LATTICE_SIDE, _LATTICE_SIDE))
    column, row = np.floor(x), np.floor(y)
    blend_x, blend_y = _smooth(x - column), _smooth(y - row)
    left, row_above = _wrap(column), _wrap(row)
    right = (left + 1) & _LATTICE_MASK
    top, bottom = row_above << _LATTICE_BITS, ((row_above + 1) & _LATTICE_MASK) << _LATTICE_BITS
    upper_left, lower_left = lattice.take(top + left), lattice.take(bottom + left)
    upper = upper_left + blend_x * (lattice.take(top + right) - upper_left)
    lower = lower_left + blend_x * (lattice.take(bottom + right) - lower_left)
    return upper + blend_y * (lower - upper)


def _at_cell(table: Field, column: Field, row: Field) -> Field:
    """The value of `table` for each (column, row), repeating outside of it."""
    return table.take((_wrap(row) << _LATTICE_BITS) + _wrap(column))


def _wrap(cell: Field) -> NDArray[np.int64]:
    return cell.astype(np.int64) & _LATTICE_MASK


def _to_cell_edge(position: Field) -> Field:
    """Distance from each position to the nearest whole number, in [0, 0.5]."""
    return np.abs(position - np.rint(position))


def _smooth(fraction: Field) -> Field:
    return fraction * fraction * (3.0 - 2.0 * fraction)


def _contrast(field: Field, *, gain: float) -> Field:
    return np.clip((field - 0.5) * gain + 0.5, 0.0, 1.0)


def _turn(x: Field, y: Field, angle: float) -> tuple[Field, Field]:
    cosine, sine = np.cos(angle), np.sin(angle)
    return x * cosine + y * sine, y * cosine - x * sine
