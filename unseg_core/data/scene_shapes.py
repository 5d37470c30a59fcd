"""Outlines of the objects and of the clutter in synthetic scenes.

An outline is a function of local coordinates (the shape fits in the unit circle around the origin, give or take its
bend) whose value is negative inside, zero on the edge and positive outside. `CLASS_LOOKS` is the registry of object
classes: adding a class is one outline and one line.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from unseg_core.data.scene_textures import Field, Texture, bricks, speckle, stripes, veins

Outline = Callable[[Field, Field], Field]
OutlineMaker = Callable[[Generator], Outline]

_AREA_GRID = np.linspace(-1.0, 1.0, 25)
_AREA_X, _AREA_Y = np.meshgrid(_AREA_GRID, _AREA_GRID)


@dataclass(frozen=True, kw_only=True)
class ClassLook:
    """What makes an object class recognisable; colour is not part of it."""

    outline: OutlineMaker
    texture: Texture
    bevel: float
    """Width of the shaded rim in local units; 1 shades the whole object like a ball."""
    bend: float = 0.0
    """Largest curvature of the long axis, in local units."""


def disc(rng: Generator) -> Outline:
    """A circle or a mild ellipse."""
    aspect = rng.uniform(0.78, 1.0)
    return lambda x, y: np.hypot(x, y / aspect) - 1.0


def rectangle(rng: Generator) -> Outline:
    """A rectangle with sides between 1 : 1.2 and 1 : 2.4."""
    return _box(np.arctan(1.0 / rng.uniform(1.2, 2.4)))


def star(rng: Generator) -> Outline:
    """A star with five to eight straight-sided points."""
    return _polygon_star(int(rng.integers(5, 9)), rng.uniform(0.5, 0.68))


def leaf(rng: Generator) -> Outline:
    """A lens with two pointed ends, wider towards one of them."""
    width, lean = rng.uniform(0.34, 0.55), rng.uniform(-0.35, 0.35)
    return lambda x, y: np.abs(y) - width * (1.0 - x * x) * (1.0 + lean * np.clip(x, -1.0, 1.0))


def triangle(rng: Generator) -> Outline:
    """A triangle with equal sides."""
    return _polygon_star(3, 0.5)


def bar(rng: Generator) -> Outline:
    """A long thin rectangle."""
    return _box(rng.uniform(0.08, 0.2))


def ring(rng: Generator) -> Outline:
    """A circle with a hole."""
    width = rng.uniform(0.15, 0.3)
    return lambda x, y: np.abs(np.hypot(x, y) - (1.0 - width)) - width


def cross(rng: Generator) -> Outline:
    """Two bars at a right angle."""
    arm = _box(rng.uniform(0.2, 0.35))
    return lambda x, y: np.minimum(arm(x, y), arm(y, x))


def blob(rng: Generator) -> Outline:
    """A closed curve with irregular soft lobes."""
    amount, shift = rng.uniform(0.08, 0.16, 2), rng.uniform(0.0, 2.0 * np.pi, 2)

    def outline(x: Field, y: Field) -> Field:
        angle = np.arctan2(y, x)
        lobes = amount[0] * np.sin(2.0 * angle + shift[0]) + amount[1] * np.sin(3.0 * angle + shift[1])
        distance: Field = np.hypot(x, y) - 0.7 - lobes
        return distance

    return outline


CLASS_LOOKS: dict[str, ClassLook] = {
    "disc": ClassLook(outline=disc, texture=speckle, bevel=1.0),
    "brick": ClassLook(outline=rectangle, texture=bricks, bevel=0.12),
    "star": ClassLook(outline=star, texture=stripes, bevel=0.2),
    "leaf": ClassLook(outline=leaf, texture=veins, bevel=0.25, bend=0.3),
}

CLUTTER_OUTLINES: dict[str, OutlineMaker] = {
    "triangle": triangle,
    "bar": bar,
    "ring": ring,
    "cross": cross,
    "blob": blob,
}


def unit_area(outline: Outline) -> float:
    """Area of an outline in squared local units (a full unit circle has pi), from a coarse grid of samples."""
    return 4.0 * float(np.mean(outline(_AREA_X, _AREA_Y) <= 0.0))


def _box(half_diagonal_angle: float) -> Outline:
    half_width, half_height = np.cos(half_diagonal_angle), np.sin(half_diagonal_angle)
    return lambda x, y: np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _polygon_star(points: int, notch: float) -> Outline:
    """Star with its tips at radius 1 and its notches at radius `notch`; points=3, notch=0.5 is a triangle."""
    half_turn = np.pi / points
    notch_x, notch_y = notch * np.cos(half_turn), notch * np.sin(half_turn)
    length = np.hypot(notch_x - 1.0, notch_y)

    def outline(x: Field, y: Field) -> Field:
        radius = np.hypot(x, y)
        from_tip = np.abs((np.arctan2(y, x) / (2.0 * half_turn) + 0.5) % 1.0 - 0.5) * 2.0 * half_turn
        along, across = radius * np.cos(from_tip), radius * np.sin(from_tip)
        distance: Field = ((along - 1.0) * notch_y + across * (1.0 - notch_x)) / length
        return distance

    return outline
