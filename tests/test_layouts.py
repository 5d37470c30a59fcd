"""Layouts: real data sets and hand-made ones, read lazily and with every mistake named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from unseg_core.data.layouts import LAYOUTS, detect_layout, open_layout
from unseg_core.data.sample import (
    Annotation,
    annotation_for,
    held_ids,
    label_map,
    mask_of,
    segment_of,
    select_target,
    union_mask,
    wanted_categories,
)
from unseg_core.errors import DataError, ParameterError

REAL = [
    ("kvasir", "folder", 1000),
    ("lung", "folder", 420),
    ("objects/icoseg", "hqseg", 513),
    ("objects/cats", "hqseg", 400),
]


@pytest.mark.parametrize(("path", "layout", "count"), REAL)
def test_real_data_set(real_data: Path, path: str, layout: str, count: int) -> None:
    root = str(real_data / path)
    assert detect_layout(root) == layout
    samples = list(open_layout("auto", root).samples())
    assert len(samples) == count
    assert len({s.id for s in samples}) == count
    for sample in samples[:: count // 5]:
        with Image.open(real_data / path / sample.image) as image:
            mask = union_mask(annotation_for(sample, np.asarray(image)))
        assert 0.001 < mask.mean() < 0.999
        assert all((real_data / path / file).is_file() for file in sample.files)


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_every_layout_refuses_what_it_is_not(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        open_layout(name, str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=str(tmp_path)):
        open_layout(name, str(tmp_path))


def test_unknown_layout_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="folder, hqseg"):
        open_layout("voc2099", str(tmp_path))


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def one_mask(tmp_path: Path, values: np.ndarray, classes: tuple[str, ...] = ("object",)) -> Annotation:
    save(tmp_path / "images" / "a.png", np.zeros((4, 4, 3), dtype=np.uint8))
    save(tmp_path / "masks" / "a.png", values)
    (sample,) = open_layout("folder", str(tmp_path), classes=classes).samples()
    return sample.read_annotation()


@pytest.mark.parametrize("value", [1, 255, 7])
def test_binary_mask_may_use_any_one_value(tmp_path: Path, value: int) -> None:
    values = np.zeros((4, 4), dtype=np.uint8)
    values[1:3] = value
    (segment,) = one_mask(tmp_path, values).segments
    assert np.array_equal(mask_of(segment), values > 0)


def test_labels_read_as_binary_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name the classes"):
        one_mask(tmp_path, np.arange(16, dtype=np.uint8).reshape(4, 4) % 3)


def test_label_map_becomes_segments_with_ignore_as_crowd(tmp_path: Path) -> None:
    values = np.array([[0, 1, 2, 255]] * 4, dtype=np.uint8)
    annotation = one_mask(tmp_path, values, ("cat", "dog"))
    assert [(s.category, s.is_crowd) for s in annotation.segments] == [(1, False), (2, False), (255, True)]
    assert np.array_equal(label_map(annotation), values)
    assert np.array_equal(union_mask(annotation), (values == 1) | (values == 2))
    assert np.array_equal(select_target(annotation, "b", ("a", "b")).mask, values == 2)
    with pytest.raises(DataError, match=r"values \[3\]"):
        one_mask(tmp_path, values * 0 + 3, ("cat", "dog"))


def test_empty_mask_has_no_segment(tmp_path: Path) -> None:
    assert one_mask(tmp_path, np.zeros((4, 4), dtype=np.uint8)).segments == ()


def test_missing_mask_and_same_stem_are_named(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 2, np.random.default_rng(0))
    (root / "masks" / "photo 01.png").unlink()
    samples = list(open_layout("folder", str(root)).samples())
    with pytest.raises(DataError, match=r"photo 01.png has no mask"):
        samples[1].read_annotation()
    save(root / "images" / "photo 00.jpg", np.zeros((4, 4, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="same name but for the extension"):
        open_layout("folder", str(root))


def test_mask_without_image_is_an_orphan(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 2, np.random.default_rng(0))
    (root / "images" / "photo 01.png").unlink()
    assert open_layout("folder", str(root)).orphans() == [str(root / "masks" / "photo 01.png")]


def test_images_in_the_root_and_masks_elsewhere(tmp_path: Path) -> None:
    write_pairs(tmp_path / "there", 3, np.random.default_rng(0))
    layout = open_layout("auto", str(tmp_path / "there" / "images"), masks=str(tmp_path / "there" / "masks"))
    assert [s.image for s in layout.samples()] == [f"photo {i:02d}.png" for i in range(3)]


def test_targets_by_name() -> None:
    assert wanted_categories("all", ("a", "b")) is None
    assert wanted_categories("b, a", ("a", "b")) == {1, 2}
    with pytest.raises(ParameterError, match="'c' is no class; known: a, b"):
        wanted_categories("c", ("a", "b"))


def test_split_depends_on_ids_only_and_keeps_its_share() -> None:
    ids = [f"image{i}" for i in range(1000)]
    held = held_ids(ids, 0.2)
    assert len(held) == 200
    assert held_ids(ids[::-1], 0.2) == held
    assert held_ids(["only"], 0.01) == {"only"}


@given(mask=arrays(np.bool_, st.tuples(st.integers(1, 30), st.integers(1, 30))))
def test_rle_keeps_every_pixel(mask: np.ndarray) -> None:
    assert np.array_equal(mask_of(segment_of(mask, 1)), mask)


def test_mask_of_another_size_is_refused_even_if_empty(tmp_path: Path) -> None:
    one_mask(tmp_path, np.zeros((2, 3), dtype=np.uint8))
    (sample,) = open_layout("folder", str(tmp_path)).samples()
    with pytest.raises(DataError, match=r"images/a.png: the mask is 3x2 but the image 5x4"):
        annotation_for(sample, np.zeros((4, 5, 3), dtype=np.uint8))
