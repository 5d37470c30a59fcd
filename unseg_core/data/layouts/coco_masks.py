"""Masks of COCO annotations, decoded by pycocotools after everything has been checked that it takes on trust."""

from __future__ import annotations

import math
from array import array
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from unseg_core.data.layouts.coco_file import Box, ImageEntry, Instance
from unseg_core.data.rle import Rle, checked_rle
from unseg_core.errors import DataError
from unseg_core.images import MAX_PIXELS

POINTS = 3
"""A polygon of fewer has no area and is left out, as loaders of the field do."""


def size_of(entry: ImageEntry) -> tuple[int, int]:
    """Height and width of an image as its entry says.

    Raises:
        DataError: they are missing, or no size of an image.
    """
    sides = [_side(entry, key) for key in ("height", "width")]
    if sides[0] * sides[1] > MAX_PIXELS:
        raise DataError(f"image {entry.id} claims {sides[1]}x{sides[0]} pixels, over the limit of {MAX_PIXELS:,}")
    return sides[0], sides[1]


def _side(entry: ImageEntry, key: str) -> int:
    value: Any = getattr(entry, key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0 or value % 1:
        raise DataError(f"image {entry.id} has the {key} {value!r}, which is no number of pixels")
    return int(value)


def instance_rle(instance: Instance, height: int, width: int) -> Rle | None:
    """The mask of an instance: polygons, RLE, compressed RLE, or the whole of its box. None if it has no area.

    Raises:
        DataError: it has no mask, or one that cannot be read safely.
    """
    try:
        if isinstance(instance.segmentation, Box):
            return box_rle(instance.segmentation, height, width)
        if isinstance(instance.segmentation, tuple):
            return polygons_rle(instance.segmentation, height, width)
        return checked_rle(instance.segmentation, height, width)
    except DataError as error:
        raise DataError(f"annotation {instance.id}: {error}") from None


def box_rle(box: Box, height: int, width: int) -> Rle | None:
    """A filled box of left, top, width and height in pixels; None if nothing of it is in the image.

    Raises:
        DataError: it is no box, or far outside of the image.
    """
    if not isinstance(box.xywh, tuple) or len(box.xywh[0]) != 4 or min(box.xywh[0][2:]) < 0:
        raise DataError("its bbox is no list of four numbers (left, top, width, height)")
    left, top, across, down = box.xywh[0]
    right, bottom = left + across, top + down
    return polygons_rle((array("d", (left, top, right, top, right, bottom, left, bottom)),), height, width)


def polygons_rle(polygons: Any, height: int, width: int) -> Rle | None:
    """The union of polygons x0, y0, x1, y1, ... by COCO's rule; None if there is nothing in them.

    Raises:
        DataError: there is none, or one has coordinates far outside the image (rasterising takes memory by length).
    """
    if not polygons:
        raise DataError("it has no mask (its segmentation is empty)")
    usable = []
    for polygon in polygons:
        points = np.asarray(polygon)
        if points.size % 2 or points.dtype.kind != "f":
            raise DataError("a polygon is no list of pairs of numbers")
        if points.size and not np.abs(points).max() <= 2 * max(height, width):
            raise DataError(f"a polygon lies outside of the image, at {_farthest(points)}")
        if points.size >= 2 * POINTS:
            usable.append(points.tolist())
    if not usable:
        return None
    rle: Rle = coco_mask.merge(coco_mask.frPyObjects(usable, height, width))
    return rle if coco_mask.area(rle) else None


def _farthest(points: np.ndarray) -> float:
    finite = points[np.isfinite(points)]
    return float(points[np.abs(points).argmax()]) if finite.size == points.size else math.nan
