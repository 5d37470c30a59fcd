"""Layouts whose masks are images: values, names, splits and every mistake named."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from unseg_core.data.layouts import detect_layout, open_layout
from unseg_core.data.sample import (
    Annotation,
    Segment,
    annotation_for,
    held_ids,
    label_map,
    mask_of,
    resolve_targets,
    segment_of,
    select_target,
    split_names,
    union_mask,
    wanted_categories,
)
from unseg_core.errors import DataError, ParameterError


def test_unknown_layout_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"choose auto or one of voc, .*, folder"):
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


@pytest.mark.parametrize("values", [(1, 255), (1, 2, 255), (76, 149), (100, 200), (20, 40, 60, 160)])
def test_areas_that_a_threshold_would_lose_are_refused(tmp_path: Path, values: tuple[int, ...]) -> None:
    """Labels beside the value of what is to be ignored, colours by their brightness, scaled labels, instances."""
    labels = np.zeros((24, 24), dtype=np.uint8)
    for number, value in enumerate(values):
        labels[5 * number : 5 * number + 4, 3:20] = value
    low = [value for value in values if value < 128]
    with pytest.raises(DataError, match=re.escape(f"a.png has the values {low} in whole areas")):
        one_mask(tmp_path, labels)


def test_soft_edges_and_what_was_jpeg_are_no_labels(tmp_path: Path) -> None:
    disc = np.hypot(*np.mgrid[-30:30, -30:30])
    soft = (255 * np.clip((21 - disc) / 6, 0, 1)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(255 * (disc < 20).astype(np.uint8)).save(buffer, format="JPEG", quality=10)
    rough = np.asarray(Image.open(buffer))
    hair = np.zeros((60, 60), dtype=np.uint8)
    hair[:, 30], hair[:, 31] = 90, 160
    for values, object_ in ((soft, soft > 127), (rough, rough > 127), (hair, hair == 160)):
        (segment,) = one_mask(tmp_path, values).segments
        assert np.array_equal(mask_of(segment), object_)


def test_a_mask_is_what_is_seen_of_it(tmp_path: Path) -> None:
    """Palettes of greys in any order, and pictures of one colour that are transparent around the object."""
    object_ = np.zeros((24, 24), dtype=bool)
    object_[5:15, 6:20] = True
    inverted = Image.fromarray((~object_).astype(np.uint8), mode="L").convert("P")
    inverted.putpalette([255, 255, 255, 0, 0, 0])
    colour = Image.fromarray(object_.astype(np.uint8), mode="L").convert("P")
    colour.putpalette([0, 0, 0, 128, 0, 0])
    clear = Image.new("RGBA", (24, 24), (0, 0, 0, 0))
    clear.putalpha(Image.fromarray(255 * object_.astype(np.uint8)))
    save(tmp_path / "images" / "a.png", np.zeros((24, 24, 3), dtype=np.uint8))
    (tmp_path / "masks").mkdir()
    for picture in (inverted, colour, clear):
        picture.save(tmp_path / "masks" / "a.png")
        (sample,) = open_layout("folder", str(tmp_path)).samples()
        assert np.array_equal(union_mask(sample.read_annotation()), object_)


def test_a_jpeg_mask_without_light_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", np.zeros((16, 16, 3), dtype=np.uint8))
    save(tmp_path / "masks" / "a.jpg", np.ones((16, 16), dtype=np.uint8))
    (sample,) = open_layout("folder", str(tmp_path)).samples()
    with pytest.raises(DataError, match=r"a.jpg has the values \[1\] and none above 127"):
        sample.read_annotation()


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


@pytest.mark.parametrize(("folders", "suffix"), [(("img", "mask"), "_segmentation"), (("images", "masks"), " - mask")])
def test_masks_with_an_ending_of_their_own(tmp_path: Path, folders: tuple[str, str], suffix: str) -> None:
    write_pairs(tmp_path, 3, np.random.default_rng(0))
    for old, new in zip(("images", "masks"), folders, strict=True):
        (tmp_path / old).rename(tmp_path / new)
    for mask in (tmp_path / folders[1]).iterdir():
        mask.rename(mask.with_stem(mask.stem + suffix))
    layout = open_layout("folder", str(tmp_path))
    for number, sample in enumerate(layout.samples()):
        assert (sample.id, sample.image) == (f"photo {number:02d}", f"{folders[0]}/photo {number:02d}.png")
        assert sample.files == (f"{folders[1]}/photo {number:02d}{suffix}.png",)
        assert union_mask(sample.read_annotation()).any()
    (tmp_path / folders[0] / "photo 01.png").unlink()
    assert open_layout("folder", str(tmp_path)).orphans() == [str(tmp_path / folders[1] / f"photo 01{suffix}.png")]


@pytest.mark.parametrize("masked", [("cell_1",), ("cell", "cell_1", "cell_2")])
def test_an_ending_that_images_have_too(tmp_path: Path, masked: tuple[str, ...]) -> None:
    for name in ("cell", "cell_1", "cell_2"):
        save(tmp_path / "images" / f"{name}.png", np.zeros((4, 4, 3), dtype=np.uint8))
    for name in masked:
        save(tmp_path / "masks" / f"{name}_mask.png", np.full((4, 4), 255, dtype=np.uint8))
    layout = open_layout("folder", str(tmp_path))
    assert layout.orphans() == []
    assert [s.id for s in layout.samples() if s.files == (f"masks/{s.id}_mask.png",)] == list(masked)
    assert all(s.id in masked or not s.files for s in layout.samples())


def test_folders_of_masks_that_cannot_be_read(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.zeros((4, 4, 3), dtype=np.uint8))
    save(tmp_path / "a_mask.png", np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(DataError, match="is the folder of the masks and has no images besides; move them apart"):
        open_layout("folder", str(tmp_path), masks=str(tmp_path))
    save(tmp_path / "masks" / "a.gif", np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(DataError, match=r"masks holds no mask that is read .* such as a\.gif"):
        open_layout("folder", str(tmp_path))


def test_masks_that_belong_to_no_image(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "train" / "a.png", np.zeros((4, 4, 3), dtype=np.uint8))
    save(tmp_path / "labels" / "a.png", np.zeros((4, 4), dtype=np.uint8))
    masks = str(tmp_path / "labels")
    with pytest.raises(DataError, match=r"images such as train/a\.png, and masks such as a\.png; give the folder"):
        open_layout("folder", str(tmp_path / "photos"), masks=masks)
    (sample,) = open_layout("folder", str(tmp_path / "photos" / "train"), masks=masks).samples()
    assert sample.id == "a"


def test_masks_that_are_named_below_the_data_set_are_its_own(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 2, np.random.default_rng(0))
    (root / "masks").rename(root / "labels")
    first, _ = open_layout("folder", str(root), masks=str(root / "labels")).samples()
    assert first.files == ("labels/photo 00.png",)


def test_classes_without_a_background(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 1, np.random.default_rng(0))
    (root / "classes.json").write_text(json.dumps({"1": "cat", "2": "dog"}))
    assert open_layout("folder", str(root)).classes == ("cat", "dog")


def test_one_mask_that_fits_is_the_rule(tmp_path: Path) -> None:
    """An ending is looked for only where no mask has the name of an image."""
    write_pairs(tmp_path, 2, np.random.default_rng(0))
    mask = tmp_path / "masks" / "photo 01.png"
    mask.rename(mask.with_stem("photo 01_mask"))
    assert open_layout("folder", str(tmp_path)).orphans() == [str(tmp_path / "masks" / "photo 01_mask.png")]


def test_images_in_the_root_and_masks_elsewhere(tmp_path: Path) -> None:
    write_pairs(tmp_path / "there", 3, np.random.default_rng(0))
    layout = open_layout("auto", str(tmp_path / "there" / "images"), masks=str(tmp_path / "there" / "masks"))
    assert [s.image for s in layout.samples()] == [f"photo {i:02d}.png" for i in range(3)]


def test_targets_by_name() -> None:
    assert wanted_categories("all", ("a", "b")) is None
    assert wanted_categories("b, a", ("a", "b")) == {1, 2}
    with pytest.raises(ParameterError, match="'c' is no class; known: a, b"):
        wanted_categories("c", ("a", "b"))


def test_targets_by_the_data_sets_own_numbers() -> None:
    classes, ids = ("road", "person", "7"), (7, 24, 900)
    assert wanted_categories("24", classes, ids) == {2}
    assert wanted_categories("7", classes, ids) == {3}, "a name comes before a number"
    assert resolve_targets("900, road", classes, ids) == "road,7"
    assert resolve_targets("things", classes, ids) == "things"
    with pytest.raises(ParameterError, match="'2' is no class"):
        resolve_targets("2", classes, ids)


def test_class_names_may_hold_commas() -> None:
    classes = ("road, route", "car, van", "car", "dog")
    assert split_names("car, van,dog", classes) == ["car, van", "dog"]
    assert split_names("car,dog,road , route", classes) == ["car", "dog", "road, route"]
    assert wanted_categories("car, van", classes) == {2}
    assert resolve_targets("car, van,dog", classes, (1, 2, 3, 4)) == "car, van,dog"


def test_more_categories_than_a_label_map_holds() -> None:
    segment = Segment(category=255, rle=segment_of(np.ones((2, 2), dtype=bool), 1).rle)
    with pytest.raises(DataError, match="category 255 does not fit"):
        label_map(Annotation(height=2, width=2, segments=(segment,)))


def test_split_depends_on_ids_only_and_keeps_its_share() -> None:
    ids = [f"image{i}" for i in range(1000)]
    held = held_ids(ids, 0.2)
    assert len(held) == 200
    assert held_ids(ids[::-1], 0.2) == held
    assert held_ids(["only"], 0.01) == {"only"}


@given(mask=arrays(np.bool_, st.tuples(st.integers(1, 30), st.integers(1, 30))))
@settings(deadline=None)
def test_rle_keeps_every_pixel(mask: np.ndarray) -> None:
    assert np.array_equal(mask_of(segment_of(mask, 1)), mask)


def test_mask_of_another_size_is_refused_even_if_empty(tmp_path: Path) -> None:
    one_mask(tmp_path, np.zeros((2, 3), dtype=np.uint8))
    (sample,) = open_layout("folder", str(tmp_path)).samples()
    with pytest.raises(DataError, match=r"images/a.png: the mask is 3x2 but the image 5x4"):
        annotation_for(sample, np.zeros((4, 5, 3), dtype=np.uint8))


def test_label_maps_must_be_lossless_and_without_colour(tmp_path: Path) -> None:
    values = np.zeros((4, 4), dtype=np.uint8)
    with pytest.raises(DataError, match="is a colour picture"):
        one_mask(tmp_path / "a", np.dstack([values + 9, values, values]), ("cat", "dog"))
    of_three_channels = np.dstack([values] * 3)
    for number, (mask, lossy) in enumerate(((values, "jpg"), (of_three_channels, "jpg"), (values, "webp"))):
        root = tmp_path / str(number)
        save(root / "images" / "a.png", of_three_channels)
        save(root / "masks" / f"a.{lossy}", mask)
        (sample,) = open_layout("folder", str(root), classes=("cat", "dog")).samples()
        with pytest.raises(DataError, match="which change class numbers"):
            sample.read_annotation()


def test_grey_stored_as_rgb_is_a_label_map(tmp_path: Path) -> None:
    values = np.array([[0, 1], [2, 255]], dtype=np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(label_map(one_mask(tmp_path, np.dstack([values] * 3), ("cat", "dog"))), values)


def voc(root: Path, lines: str) -> Path:
    for name in ("1", "2"):
        save(root / "JPEGImages" / f"{name}.jpg", np.zeros((4, 4, 3), dtype=np.uint8))
        save(root / "SegmentationClass" / f"{name}.png", np.full((4, 4), int(name), dtype=np.uint8))
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text(lines)
    return root


@pytest.mark.parametrize("line", ["../../secret", "/etc/passwd", "a/../../b"])
def test_no_line_of_a_list_leaves_the_data_set(tmp_path: Path, line: str) -> None:
    root = voc(tmp_path, f"1\n{line}\n")
    with pytest.raises(DataError, match=r"train\.txt: .* leaves the data set .*; correct the entry"):
        open_layout("voc", str(root), split="train")


def test_listed_images_that_are_not_there(tmp_path: Path) -> None:
    layout = open_layout("voc", str(voc(tmp_path, "1\n3\n")), split="train")
    assert [sample.id for sample in layout.samples()] == ["1"]
    assert layout.orphans() == ["ImageSets/Segmentation/train.txt: 3"]
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="no UTF-8 text"):
        open_layout("voc", str(tmp_path), split="train")
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("3\n")
    with pytest.raises(DataError, match="names no image that is there"):
        open_layout("voc", str(tmp_path), split="train")


def test_voc_takes_the_augmented_labels_where_they_are(tmp_path: Path) -> None:
    root = voc(tmp_path, "1\n")
    save(root / "SegmentationClassAug" / "1.png", np.full((4, 4), 20, dtype=np.uint8))
    (sample,) = open_layout("voc", str(root)).samples()
    assert label_map(sample.read_annotation()).max() == 20
    save(root / "SegmentationClassAug" / "1.png", np.full((4, 4), 21, dtype=np.uint8))
    with pytest.raises(DataError, match=r"values \[21\]; there are 20 classes"):
        sample.read_annotation()


def test_folder_split_by_a_list_of_names(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 3, np.random.default_rng(0))
    (root / "val.txt").write_text("photo 01.png\nphoto 02\n")
    samples = open_layout("folder", str(root), split="val").samples()
    assert [sample.id for sample in samples] == ["photo 01", "photo 02"]


def cityscapes(root: Path, values: np.ndarray, ending: str) -> Annotation:
    name = "train/ulm/ulm_000000_000000"
    save(root / "leftImg8bit" / f"{name}_leftImg8bit.png", np.zeros((*values.shape, 3), dtype=np.uint8))
    save(root / "gtFine" / f"{name}_gtFine_{ending}.png", values)
    (sample,) = open_layout("auto", str(root)).samples()
    return sample.read_annotation()


def test_cityscapes_with_semantic_labels_only(tmp_path: Path) -> None:
    annotation = cityscapes(tmp_path, np.array([[7, 26], [26, 29]], dtype=np.uint8), "labelIds")
    found = [(s.category, s.is_thing, s.is_crowd, int(mask_of(s).sum())) for s in annotation.segments]
    assert found == [(1, False, False, 1), (14, True, False, 2), (255, False, True, 1)]


def test_cityscapes_refuses_numbers_that_are_no_label(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds the number 60000, which is no label of Cityscapes"):
        cityscapes(tmp_path, np.full((2, 2), 60_000, dtype=np.uint16), "instanceIds")


def test_cityscapes_with_panoptic_labels_only(tmp_path: Path) -> None:
    name = "val/ulm/ulm_000000_000000"
    save(tmp_path / "leftImg8bit" / f"{name}_leftImg8bit.png", np.zeros((2, 2, 3), dtype=np.uint8))
    ids = np.array([[7, 26_001], [24, 0]])
    png = "ulm_000000_000000_gtFine_panoptic.png"
    colours = np.stack([ids % 256, ids // 256, ids * 0], axis=-1).astype(np.uint8)
    save(tmp_path / "gtFine" / "cityscapes_panoptic_val" / png, colours)
    segments = [{"id": number, "category_id": label, "iscrowd": crowd} for number, label, crowd in
                [(7, 7, 0), (26_001, 26, 0), (24, 24, 1)]]  # fmt: skip
    whole = {
        "images": [{"id": "ulm_000000_000000", "file_name": "ulm_000000_000000_gtFine_leftImg8bit.png"}],
        "annotations": [{"image_id": "ulm_000000_000000", "file_name": png, "segments_info": segments}],
        "categories": [{"id": 7, "name": "road", "isthing": 0}],
    }
    (tmp_path / "gtFine" / "cityscapes_panoptic_val.json").write_text(json.dumps(whole))
    (sample,) = open_layout("auto", str(tmp_path), split="val").samples()
    assert sample.id == name
    annotation = annotation_for(sample, np.zeros((2, 2, 3), dtype=np.uint8))
    assert label_map(annotation).tolist() == [[1, 14], [255, 255]]
    assert union_mask(annotation).tolist() == [[True, True], [False, False]]


def test_detection_prefers_the_special_layout(tmp_path: Path) -> None:
    assert detect_layout(str(write_pairs(tmp_path / "photos", 1, np.random.default_rng(0)))) == "folder"
    assert detect_layout(str(write_pairs(tmp_path / "Kvasir-SEG", 1, np.random.default_rng(0)))) == "kvasir"
    (tmp_path / "Kvasir-SEG" / "classes.json").write_text('{"0": "background", "1": "polyp", "2": "tool"}')
    assert detect_layout(str(tmp_path / "Kvasir-SEG")) == "folder"
    masks = str(tmp_path / "Kvasir-SEG" / "masks")
    assert detect_layout(str(tmp_path / "Kvasir-SEG" / "images"), masks=masks) == "folder"
