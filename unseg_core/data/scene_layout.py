"""Plans of synthetic scenes: which figures lie where, in which depth order, and which pixels each of them owns.

Lengths are fractions of the image side until a figure is cut into a footprint on the pixel grid. A pixel belongs to a
figure when its centre lies inside the outline.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from unseg_core.data.scene_shapes import CLASS_LOOKS, CLUTTER_OUTLINES, Outline, unit_area
from unseg_core.data.scene_textures import TEXTURES, Field, Texture

SCENE_CLASSES: tuple[str, ...] = tuple(CLASS_LOOKS)

LEAST_COVERAGE, MOST_COVERAGE = 0.15, 0.45
_MARGIN, _MARGIN_PIXELS = 0.04, 3.0  # room around a figure for its soft edge and its shadow
_LARGEST_RAISED, _RAISED_SHARE = 0.06, 0.3  # clutter that may lie on objects


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An object (label 1..) or a piece of clutter (label 0) in the plan of a scene; lengths in image sides."""

    label: int
    outline: Outline
    texture: Texture
    bevel: float
    bend: float
    radius: float
    angle: float
    centre_x: float
    centre_y: float


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """A figure on the pixel grid; fields cover the window `rows` x `columns`."""

    figure: Figure
    rows: slice
    columns: slice
    local_x: Field
    local_y: Field
    distance: Field
    """Value of the outline: negative inside."""
    slope_x: Field
    slope_y: Field
    coverage: Field
    """Share of each pixel that the figure covers; at least 0.5 exactly where the pixel's centre is inside."""


def plan_scene(rng: Generator, size: int) -> tuple[list[Footprint], NDArray[np.int64]]:
    """Footprints from back to front and, for each pixel, 1 + the number of the one on top (0: none).

    Draws until the objects cover a fair part of the image; most first draws do.
    """
    while True:
        footprints = [_cut(figure, size) for figure in _stack(rng, _draw_objects(rng), _draw_clutter(rng))]
        owner = np.zeros((size, size), dtype=np.int64)
        for number, footprint in enumerate(footprints, start=1):
            owner[footprint.rows, footprint.columns][footprint.distance <= 0.0] = number
        labels, _ = label_maps(footprints, owner)
        if LEAST_COVERAGE <= np.count_nonzero(labels) / labels.size <= MOST_COVERAGE:
            return footprints, owner


def _draw_objects(rng: Generator) -> list[Figure]:
    """Two to six objects that together would fill the wanted part of the image if none were hidden."""
    labels = rng.integers(1, len(SCENE_CLASSES) + 1, int(rng.integers(2, 7)))
    looks = [CLASS_LOOKS[SCENE_CLASSES[label - 1]] for label in labels]
    outlines = [look.outline(rng) for look in looks]
    shares = rng.uniform(0.4, 1.6, len(labels))
    areas = rng.uniform(0.22, 0.46) * shares / shares.sum()
    figures: list[Figure] = []
    for label, look, outline, area in zip(labels, looks, outlines, areas, strict=True):
        radius = float(np.clip(np.sqrt(area / unit_area(outline)), 0.08, 0.36))
        centre_x, centre_y = _free_place(rng, radius, figures)
        figures.append(
            Figure(
                label=int(label),
                outline=outline,
                texture=look.texture,
                bevel=look.bevel,
                bend=rng.uniform(-look.bend, look.bend),
                radius=radius,
                angle=rng.uniform(0.0, 2.0 * np.pi),
                centre_x=centre_x,
                centre_y=centre_y,
            )
        )
    return figures


def _free_place(rng: Generator, radius: float, placed: Sequence[Figure]) -> tuple[float, float]:
    """The one of a few random places that keeps the most distance from the objects that are there already."""
    places = rng.uniform(0.08, 0.92, (4, 2))
    gaps = np.full(len(places), np.inf)
    for other in placed:
        apart = np.hypot(places[:, 0] - other.centre_x, places[:, 1] - other.centre_y)
        gaps = np.minimum(gaps, apart - radius - other.radius)
    best = places[int(np.argmax(gaps))]
    return float(best[0]), float(best[1])


def _draw_clutter(rng: Generator) -> list[Figure]:
    """Small pieces in any texture, and a few larger blobs so that a texture alone does not make an object."""
    figures = [_clutter(rng, rng.choice(list(CLUTTER_OUTLINES)), 0.02, 0.06) for _ in range(rng.integers(5, 13))]
    figures += [_clutter(rng, "blob", 0.07, 0.15) for _ in range(rng.integers(0, 3))]
    return figures


def _clutter(rng: Generator, outline: str, smallest: float, largest: float) -> Figure:
    return Figure(
        label=0,
        outline=CLUTTER_OUTLINES[outline](rng),
        texture=TEXTURES[rng.choice(list(TEXTURES))],
        bevel=rng.uniform(0.2, 0.8),
        bend=0.0,
        radius=rng.uniform(smallest, largest),
        angle=rng.uniform(0.0, 2.0 * np.pi),
        centre_x=rng.uniform(0.0, 1.0),
        centre_y=rng.uniform(0.0, 1.0),
    )


def _stack(rng: Generator, objects: list[Figure], clutter: list[Figure]) -> list[Figure]:
    """Depth order from back to front: most clutter lies behind all objects, some small pieces among them."""
    figures = list(objects)
    for figure in clutter:
        raised = figure.radius < _LARGEST_RAISED and rng.uniform() < _RAISED_SHARE
        figures.insert(int(rng.integers(0, len(figures) + 1)) if raised else 0, figure)
    return figures


def _cut(figure: Figure, size: int) -> Footprint:
    """Evaluate the outline of `figure` at the pixel centres around it."""
    reach = figure.radius * (1.0 + abs(figure.bend)) + max(_MARGIN, _MARGIN_PIXELS / size)
    rows, columns = _window(figure.centre_y, reach, size), _window(figure.centre_x, reach, size)
    away_y = ((np.arange(rows.start, rows.stop) + 0.5) / size - figure.centre_y)[:, None] / figure.radius
    away_x = ((np.arange(columns.start, columns.stop) + 0.5) / size - figure.centre_x)[None, :] / figure.radius
    cosine, sine = np.cos(figure.angle), np.sin(figure.angle)
    local_x = away_x * cosine + away_y * sine
    local_y = away_y * cosine - away_x * sine - figure.bend * (local_x * local_x - 0.5)
    distance = figure.outline(local_x, local_y)
    down, across = np.gradient(distance)
    steepness = np.maximum(np.hypot(down, across), 1e-9)
    return Footprint(
        figure=figure,
        rows=rows,
        columns=columns,
        local_x=local_x,
        local_y=local_y,
        distance=distance,
        slope_x=across / steepness,
        slope_y=down / steepness,
        coverage=np.clip(0.5 - distance / steepness, 0.0, 1.0),
    )


def _window(centre: float, reach: float, size: int) -> slice:
    return slice(max(int((centre - reach) * size), 0), min(int((centre + reach) * size) + 1, size))


def label_maps(
    footprints: Sequence[Footprint], owner: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Class labels and instance numbers, both HxW; hidden objects get no number."""
    label_of = np.array([0, *(footprint.figure.label for footprint in footprints)], dtype=np.uint8)
    visible = np.bincount(owner.ravel(), minlength=len(label_of)) > 0
    is_object = visible & (label_of > 0)
    instance_of = np.where(is_object, np.cumsum(is_object), 0).astype(np.uint8)
    return label_of[owner], instance_of[owner]
