"""Run-length encoding against pycocotools, over random masks, maps and damaged codes."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from tiny_layouts import uncompressed

from unseg_core.data.layouts.coco_masks import polygons_rle
from unseg_core.data.rle import checked_rle, decompress, segments_of_map
from unseg_core.data.sample import Annotation, Segment, label_map, mask_of, segment_of, select_target
from unseg_core.errors import DataError

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))
MASKS = arrays(np.bool_, SHAPES)
MAPS = arrays(np.int32, SHAPES, elements=st.sampled_from([0, 1, 2, 255, 1000, 33_001, 2**24 - 1]))


def encode(mask: np.ndarray) -> dict[str, object]:
    rle: dict[str, object] = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return rle


@given(values=MAPS)
@settings(deadline=None)
def test_map_becomes_the_rle_that_pycocotools_writes(values: np.ndarray) -> None:
    found = segments_of_map(values)
    assert list(found) == np.unique(values).tolist()
    for value, rle in found.items():
        assert rle == encode(values == value)


@given(mask=MASKS)
@settings(deadline=None)
def test_every_form_of_rle_comes_back(mask: np.ndarray) -> None:
    code = encode(mask)
    for form in (code, {**code, "counts": code["counts"].decode()}, uncompressed(mask)):  # type: ignore[attr-defined]
        assert checked_rle(form, *mask.shape) == code
    assert decompress(code["counts"]).tolist() == uncompressed(mask)["counts"]  # type: ignore[arg-type]


@given(height=st.integers(1, 9000), width=st.integers(1, 9000), data=st.data())
@settings(deadline=None)
def test_long_runs_come_back(height: int, width: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, height * width))
    counts = [first, height * width - first] if first < height * width else [first]
    code = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    assert decompress(code["counts"]).tolist() == counts
    assert checked_rle(code, height, width) == code


@given(text=st.binary(max_size=30), height=st.integers(1, 12), width=st.integers(1, 12))
@settings(deadline=None)
def test_any_bytes_are_refused_or_a_mask_of_the_size(text: bytes, height: int, width: int) -> None:
    for counts in (text, text.decode("latin-1"), bytes(48 + byte % 64 for byte in text)):
        with contextlib.suppress(DataError):
            rle = checked_rle({"size": [height, width], "counts": counts}, height, width)
            assert coco_mask.decode(rle).shape == (height, width)


@given(counts=st.lists(st.integers(-3, 40), max_size=12), height=st.integers(1, 9), width=st.integers(1, 9))
@settings(deadline=None)
def test_counts_are_taken_only_if_they_fill_the_image(counts: list[int], height: int, width: int) -> None:
    form = {"size": [height, width], "counts": counts}
    if counts and min(counts) >= 0 and sum(counts) == height * width:
        inside = sum(counts[1::2])
        assert coco_mask.area(checked_rle(form, height, width)) == inside
    else:
        with pytest.raises(DataError, match="an RLE counts"):
            checked_rle(form, height, width)


COORDINATES = st.floats(-20, 60, allow_nan=False, width=32)


@given(polygons=st.lists(st.lists(COORDINATES, min_size=6, max_size=20).filter(lambda p: len(p) % 2 == 0), min_size=1))
@settings(deadline=None)
def test_polygons_are_those_of_pycocotools(polygons: list[list[float]]) -> None:
    expected = coco_mask.merge(coco_mask.frPyObjects(polygons, 40, 30))
    found = polygons_rle(tuple(np.asarray(polygon) for polygon in polygons), 40, 30)
    assert found == (expected if coco_mask.area(expected) else None)


@given(values=arrays(np.uint8, SHAPES, elements=st.integers(0, 5)), crowd=st.integers(1, 5))
@settings(deadline=None)
def test_union_and_labels_follow_from_segments(values: np.ndarray, crowd: int) -> None:
    rles = {value: rle for value, rle in segments_of_map(values).items() if value}
    segments = tuple(Segment(category=v, rle=rle, is_crowd=v == crowd) for v, rle in rles.items())
    annotation = Annotation(height=values.shape[0], width=values.shape[1], segments=segments)
    assert np.array_equal(label_map(annotation), np.where(values == crowd, 255, values))
    everything = select_target(annotation, "all", ())
    assert np.array_equal(everything.mask, (values > 0) & (values != crowd))
    assert np.array_equal(everything.labels, np.where(values == crowd, 0, values))


@given(masks=st.lists(arrays(np.bool_, (7, 9)), min_size=1, max_size=5))
@settings(deadline=None)
def test_later_segments_lie_on_top(masks: list[np.ndarray]) -> None:
    segments = tuple(segment_of(mask, i) for i, mask in enumerate(masks, start=1))
    labels = label_map(Annotation(height=7, width=9, segments=segments))
    expected = np.zeros((7, 9), dtype=int)
    for i, segment in enumerate(segments, start=1):
        expected[mask_of(segment)] = i
    assert np.array_equal(labels, expected)
