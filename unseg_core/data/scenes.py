"""Synthetic scenes with exact masks: textured objects of four classes in front of textured clutter.

A scene is planned first (figures in depth order, measured in fractions of the image side), then cut into footprints on
the pixel grid, then painted from back to front and sent through a simple camera. Classes differ in outline and texture
only; colours of objects, clutter and background come from one palette per scene, so no colour tells them apart.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray
from PIL import Image

from unseg_core.data.scene_layout import SCENE_CLASSES, Footprint, label_maps, plan_scene
from unseg_core.data.scene_textures import TEXTURES, Field, Texture, checker, gradient, noise, value_noise
from unseg_core.errors import ParameterError

__all__ = ["SCENE_CLASSES", "Scene", "render_scene", "write_scenes"]

SMALLEST_SIZE, LARGEST_SIZE = 32, 1024
MOST_SCENES = 100_000

_GRAIN, _GRAIN_PIXELS = 0.042, 3.4
# Chosen so that a small U-Net, trained from scratch on 300 scenes, ends well above chance and well below perfect:
# backgrounds have every texture of the objects, but less often and with less contrast.
_SURFACES: tuple[Texture, ...] = (*TEXTURES.values(), noise, checker, gradient)
_SURFACE_CONTRAST, _FIGURE_CONTRAST = (22.0, 75.0), (50.0, 110.0)  # grey levels


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One rendered scene."""

    image: NDArray[np.uint8]
    """HxWx3, RGB, 0..255."""
    labels: NDArray[np.uint8]
    """HxW, 0 for background and clutter, 1.. for `SCENE_CLASSES` in their order."""
    instances: NDArray[np.uint8]
    """HxW, 0 for background and clutter, 1.. for the visible objects from back to front."""


def render_scene(index: int, *, size: int, seed: int) -> Scene:
    """Render scene `index` (0..) of the series `seed` as a square of `size` pixels.

    The result depends on the three arguments only. Objects cover 15 to 45 % of the image, and the largest at least 2 %.

    Raises:
        ParameterError: index or seed is negative, or size is outside of 32..1024.
    """
    _require("index", index, lowest=0)
    _require("size", size, lowest=SMALLEST_SIZE, highest=LARGEST_SIZE)
    _require("seed", seed, lowest=0)
    rng = Generator(PCG64(SeedSequence([seed, index])))
    footprints, owner = plan_scene(rng, size)
    palette = rng.uniform(45.0, 205.0, (4, 3))
    palette = 0.6 * palette + 0.4 * palette.mean(axis=1, keepdims=True)
    light = rng.uniform(0.0, 2.0 * np.pi)
    image = _paint_background(rng, size, palette)
    for footprint in footprints:
        _paint_figure(rng, image, footprint, palette, light)
    labels, instances = label_maps(footprints, owner)
    return Scene(image=_photograph(rng, image, light), labels=labels, instances=instances)


def write_scenes(root: Path, *, count: int, size: int, seed: int) -> None:
    """Write scenes 0..count-1 as PNG files below `root`: images/ (RGB), masks/ (labels) and instances/ (8-bit grey).

    `classes.json`, from label to class name, is removed first and written last: where it exists, the set is complete.

    Raises:
        ParameterError: count is outside of 1..100000, or an argument is not what `render_scene` accepts.
    """
    _require("count", count, lowest=1, highest=MOST_SCENES)
    _require("size", size, lowest=SMALLEST_SIZE, highest=LARGEST_SIZE)
    _require("seed", seed, lowest=0)
    names = root / "classes.json"
    names.unlink(missing_ok=True)
    for folder in ("images", "masks", "instances"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        scene, name = render_scene(index, size=size, seed=seed), f"scene_{index:05d}.png"
        _write_png(root / "images" / name, scene.image)
        _write_png(root / "masks" / name, scene.labels)
        _write_png(root / "instances" / name, scene.instances)
    listing = {str(label): name for label, name in enumerate(("background", *SCENE_CLASSES))}
    part = names.with_name(names.name + ".part")
    part.write_text(json.dumps(listing, indent=2) + "\n", encoding="utf-8")
    part.replace(names)


def _grains(size: int) -> float:
    """Grains (the unit of textures) along one image side; a grain never gets smaller than the pixels can show."""
    return 1.0 / max(_GRAIN, _GRAIN_PIXELS / size)


def _colour(rng: Generator, palette: Field, texture: Field, contrast: tuple[float, float]) -> Field:
    """Map a texture (HxW) to a ramp between two shades near one colour of the palette (HxWx3, grey levels)."""
    base = palette[rng.integers(len(palette))] + rng.normal(0.0, 16.0, 3)
    half_span = 0.5 * rng.uniform(*contrast) * (1.0 + rng.normal(0.0, 0.25, 3))
    shades: Field = base + (2.0 * texture[..., None] - 1.0) * half_span
    return shades


def _paint_background(rng: Generator, size: int, palette: Field) -> Field:
    """One to three regions with wandering borders, each in its own texture and colour: HxWx3 in grey levels."""
    grains = _grains(size)
    centres = (np.arange(size) + 0.5) / size * grains
    x, y = np.meshgrid(centres, centres)
    image = _surface(rng, x, y, palette)
    for _ in range(rng.integers(0, 3)):
        coarse = value_noise(rng, x / 5.0, y / 5.0, octaves=3)
        sharpness = rng.choice([4.0, 60.0])
        share = np.clip((coarse - rng.uniform(0.5, 0.62)) * sharpness + 0.5, 0.0, 1.0)
        image += share[..., None] * (_surface(rng, x, y, palette) - image)
    return image


def _surface(rng: Generator, x: Field, y: Field, palette: Field) -> Field:
    texture = _SURFACES[rng.integers(len(_SURFACES))]
    angle, scale = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.7, 1.1)
    turned_x = (x * np.cos(angle) + y * np.sin(angle)) * scale
    turned_y = (y * np.cos(angle) - x * np.sin(angle)) * scale
    field = 0.8 * texture(rng, turned_x, turned_y) + 0.2 * value_noise(rng, x, y, octaves=1)
    return _colour(rng, palette, field, _SURFACE_CONTRAST)


def _paint_figure(rng: Generator, image: Field, footprint: Footprint, palette: Field, light: float) -> None:
    """Darken the window of `image` (HxWx3) by the figure's soft shadow, then paint the figure over it."""
    figure = footprint.figure
    toward_x, toward_y = np.cos(light), np.sin(light)
    window = image[footprint.rows, footprint.columns]
    window *= (1.0 - 0.4 * _shadow(footprint, light))[..., None]
    scale = figure.radius * _grains(image.shape[0])
    x, y = footprint.local_x * scale, footprint.local_y * scale
    field = 0.85 * figure.texture(rng, x, y) + 0.15 * value_noise(rng, x, y, octaves=1)
    rim = np.clip(1.0 + footprint.distance / figure.bevel, 0.0, 1.0)
    facing = footprint.slope_x * toward_x + footprint.slope_y * toward_y
    shade = 1.06 + 0.3 * rim * facing - 0.28 * rim * rim
    colour = _colour(rng, palette, field, _FIGURE_CONTRAST)
    window += footprint.coverage[..., None] * (colour * shade[..., None] - window)


def _shadow(footprint: Footprint, light: float) -> Field:
    """Strength in [0, 1] of the shadow that the figure throws away from the light, fading over the margin."""
    figure = footprint.figure
    reach = min(0.02, 0.4 * figure.radius) / figure.radius
    turned = light - figure.angle
    moved_x, moved_y = footprint.local_x + reach * np.cos(turned), footprint.local_y + reach * np.sin(turned)
    return np.clip(0.6 - figure.outline(moved_x, moved_y) / (1.6 * reach), 0.0, 1.0)


def _photograph(rng: Generator, image: Field, light: float) -> NDArray[np.uint8]:
    """Light fall-off, vignette, exposure, slight blur, shot and read-out noise: HxWx3 grey levels to uint8."""
    size = image.shape[0]
    centred = (np.arange(size) + 0.5) / size * 2.0 - 1.0
    x, y = centred[None, :], centred[:, None]
    falloff = 1.0 + rng.uniform(0.0, 0.2) * (x * np.cos(light) + y * np.sin(light))
    vignette = 1.0 - rng.uniform(0.0, 0.2) * (x * x + y * y)
    exposed = image * (falloff * vignette * rng.uniform(0.75, 1.25))[..., None]
    exposed = np.clip(_blur(exposed, rng.uniform(0.0, 0.22)), 0.0, 255.0)
    spread = np.sqrt(rng.uniform(0.5, 1.5) ** 2 + rng.uniform(0.005, 0.03) * exposed)
    noisy = exposed + rng.standard_normal(exposed.shape) * spread
    return np.clip(np.rint(noisy), 0.0, 255.0).astype(np.uint8)


def _blur(image: Field, side_weight: float) -> Field:
    """Weigh each pixel of an HxWx3 image with its neighbours, first along one axis, then along the other."""
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if axis == other else (0, 0) for other in range(3)], mode="edge")
        before, after = np.split(padded, [-2], axis=axis)[0], np.split(padded, [2], axis=axis)[1]
        image = (1.0 - 2.0 * side_weight) * image + side_weight * (before + after)
    return image


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    part = path.with_name(path.name + ".part")
    Image.fromarray(pixels).save(part, format="PNG", compress_level=6)
    part.replace(path)


def _require(name: str, value: int, *, lowest: int, highest: int | None = None) -> None:
    """Raise ParameterError unless `value` is a whole number between `lowest` and `highest`."""
    if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= (highest or value):
        return
    limits = f"between {lowest} and {highest}" if highest is not None else f"of at least {lowest}"
    raise ParameterError(f"{name} is {value!r}; give a whole number {limits}")
