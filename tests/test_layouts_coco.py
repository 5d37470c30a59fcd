"""COCO JSON files with difficult and damaged contents."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from tiny_layouts import HEIGHT, WIDTH, compressed, entry, instance, photo, polygon, uncompressed, write_json

from unseg_core.data.layouts import Layout, detect_layout, open_layout
from unseg_core.data.layouts.coco_file import read_coco_file
from unseg_core.data.sample import Annotation, label_map, mask_of, select_target, union_mask
from unseg_core.errors import DataError, ParameterError

CATEGORIES = [{"id": 9, "name": "cat"}, {"id": 2, "name": "dog"}]
SQUARE = np.zeros((HEIGHT, WIDTH), dtype=bool)
SQUARE[4:10, 6:16] = True


def write(root: Path, annotations: list[dict[str, Any]], **changes: Any) -> Path:
    """One image, a.jpg with the id 7, in annotations/instances_train.json and train/."""
    whole = {"images": [entry(7, "a.jpg")], "annotations": annotations, "categories": CATEGORIES, **changes}
    write_json(root / "annotations" / "instances_train.json", whole)
    photo(root / "train" / "a.jpg", 0)
    return root


def read(root: Path, annotations: list[dict[str, Any]], **changes: Any) -> Annotation:
    (sample,) = open_layout("coco", str(write(root, annotations, **changes))).samples()
    return sample.read_annotation()


def test_every_form_of_a_mask(tmp_path: Path) -> None:
    forms = [[polygon(4, 6, 10, 16)], uncompressed(SQUARE), compressed(SQUARE)]
    forms.append([polygon(4, 6, 7, 16), polygon(7, 6, 10, 16), [1.0, 1.0, 2.0, 2.0]])
    annotation = read(tmp_path, [instance(i, 7, 9, form) for i, form in enumerate(forms)])
    reader = COCO(str(tmp_path / "annotations" / "instances_train.json"))
    assert len(annotation.segments) == len(forms)
    for segment, number in zip(annotation.segments[:3], range(3), strict=True):
        assert np.array_equal(mask_of(segment), SQUARE)
        assert np.array_equal(mask_of(segment), reader.annToMask(reader.anns[number]).astype(bool))
    assert np.array_equal(mask_of(annotation.segments[3]), SQUARE)


def test_crowds_are_ignored_and_not_protected(tmp_path: Path) -> None:
    crowd = np.roll(SQUARE, 10, axis=0)
    found = read(tmp_path, [instance(1, 7, 2, compressed(SQUARE)), instance(2, 7, 9, uncompressed(crowd), crowd=1)])
    assert np.array_equal(union_mask(found), SQUARE)
    assert np.array_equal(label_map(found), SQUARE * 1 + crowd * 255)


def test_a_file_of_crowds_only_is_one_of_objects(tmp_path: Path) -> None:
    """Tools that write every mask as RLE mark it so."""
    found = read(tmp_path, [instance(1, 7, 2, compressed(SQUARE), crowd=1)])
    assert np.array_equal(union_mask(found), SQUARE)


@pytest.mark.parametrize("segmentation", [[], [[]], polygon(4, 6, 10, 16)])
def test_nothing_in_a_list_is_a_box_and_numbers_are_one_polygon(tmp_path: Path, segmentation: Any) -> None:
    one = {**instance(1, 7, 2, segmentation), "bbox": [6, 4, 10, 6]}
    assert np.array_equal(union_mask(read(tmp_path, [one])), SQUARE)


def test_categories_keep_their_numbers_and_count_from_one(tmp_path: Path) -> None:
    annotation = read(tmp_path, [instance(1, 7, 9, compressed(SQUARE))])
    layout = open_layout("coco", str(tmp_path))
    assert (layout.classes, layout.class_ids) == (("dog", "cat"), (2, 9))
    assert [s.category for s in annotation.segments] == [2]
    assert len(select_target(annotation, "cat", layout.classes).segments) == 1


def test_classes_of_one_name_can_be_told_apart(tmp_path: Path) -> None:
    twice = [{"id": 0, "name": "ball", "supercategory": "none"}, {"id": 1, "name": "ball"}]
    write(tmp_path, [instance(1, 7, 0, compressed(SQUARE))], categories=twice)
    assert open_layout("coco", str(tmp_path)).classes == ("ball", "ball (1)")


HUGE = [polygon(0, 0, 10, 1e9)]
BAD_MASKS: dict[str, tuple[object, str]] = {
    "wrong length": ({"size": [HEIGHT, WIDTH], "counts": [5, 5]}, r"counts 10 pixels of 768"),
    "wrong size": (compressed(SQUARE[:10]), r"of size \[10, 32\] but the image of \[24, 32\]"),
    "negative": ({"size": [HEIGHT, WIDTH], "counts": [900, -132]}, r"an RLE counts"),
    "fractions": ({"size": [HEIGHT, WIDTH], "counts": [0.5, 767.5]}, "not integers"),
    "no RLE": ({"size": [HEIGHT, WIDTH], "counts": "\x7f\x7f"}, "cannot be read"),
    "endless": ({"size": [HEIGHT, WIDTH], "counts": "oooooooooooooooooooo0"}, "cannot be read"),
    "not ASCII": ({"size": [HEIGHT, WIDTH], "counts": "\u00e9"}, "cannot be read"),
    "no counts": ({"size": [HEIGHT, WIDTH]}, "no size or no counts"),
    "size is a number": ({"size": 5, "counts": [768]}, "of size 5"),
    "empty": ([], "its segmentation is empty"),
    "missing": (None, "it has no mask"),
    "text": ("mask.png", "no size or no counts"),
    "far away": (HUGE, "outside of the image"),
    "infinite": ([[0.0, 0.0, float("inf"), 0.0, 1.0, 1.0]], "outside of the image"),
    "not a number": ([[0.0, 0.0, float("nan"), 0.0, 1.0, 1.0]], "outside of the image"),
    "odd": ([[0.0, 0.0, 5.0, 0.0, 5.0, 5.0, 1.0]], "no list of pairs"),
    "names": ([["a", "b", "c", "d", "e", "f"]], "no size or no counts|no list of pairs"),
}


@pytest.mark.parametrize("kind", list(BAD_MASKS))
def test_a_bad_mask_is_named_and_spoils_its_image_only(tmp_path: Path, kind: str) -> None:
    segmentation, message = BAD_MASKS[kind]
    annotations = [instance(1, 8, 9, compressed(SQUARE)), instance(2, 7, 9, segmentation)]
    write(tmp_path, annotations, images=[entry(7, "a.jpg"), entry(8, "b.jpg")])
    photo(tmp_path / "train" / "b.jpg", 1)
    bad, good = open_layout("coco", str(tmp_path)).samples()
    with pytest.raises(DataError, match=message) as caught:
        bad.read_annotation()
    assert "annotations/instances_train.json: annotation 2" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert np.array_equal(union_mask(good.read_annotation()), SQUARE)


def test_a_polygon_without_area_is_no_object(tmp_path: Path) -> None:
    flat = [[1.0, 1.0, 5.0, 1.0]], [[-9.0, -9.0, -5.0, -9.0, -5.0, -5.0]]
    assert read(tmp_path, [instance(i, 7, 9, form) for i, form in enumerate(flat)]).segments == ()


def test_category_that_is_not_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="annotation 5 has the category 77, which is not listed"):
        read(tmp_path, [instance(5, 7, 77, compressed(SQUARE))])


@pytest.mark.parametrize("size", [{"height": None}, {"width": 0}, {"width": "32"}, {"width": 10**9}, {"height": True}])
def test_image_without_a_usable_size(tmp_path: Path, size: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"image 7 (has the (height|width)|claims)"):
        read(tmp_path, [], images=[{**entry(7, "a.jpg"), **size}])


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/passwd", "x/../../a.jpg", "", None, 5])
def test_no_file_name_leaves_the_data_set(tmp_path: Path, name: object) -> None:
    write(tmp_path / "inside", [], images=[{**entry(7, "a.jpg"), "file_name": name}])
    photo(tmp_path / "a.jpg", 0)
    with pytest.raises(DataError, match=r"annotations/instances_train\.json"):
        open_layout("coco", str(tmp_path / "inside"))


def test_images_that_are_missing_and_annotations_of_no_image(tmp_path: Path) -> None:
    stray = instance(1, 99, 9, compressed(SQUARE))
    write(tmp_path, [stray], images=[entry(7, "a.jpg"), entry(8, "gone.jpg")])
    layout = open_layout("coco", str(tmp_path))
    path = "annotations/instances_train.json"
    assert layout.orphans() == [f"{path}: gone.jpg", f"{path}: annotation of image 99"]
    assert [sample.id for sample in layout.samples()] == ["train/a"]
    (tmp_path / "train" / "a.jpg").unlink()
    with pytest.raises(DataError, match="has none of the 2 images of"):
        open_layout("coco", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[1, 2]", "holds no object"),
        ("{}", "has no list images, annotations, categories"),
        ('{"images": [1], "annotations": [], "categories": []}', "an entry of images has no file_name"),
        ('{"images": [], "annotations": [{"id": 1}], "categories": []}', "an annotation has no image_id"),
        ('{"images": [], "annotations": [], "categories": []}', "has no categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": "x", "name": "a"}]}', "integer id and name"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            "of one id",
        ),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_damaged_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train.json").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        open_layout("coco", str(tmp_path))
    assert "instances_train.json" in str(caught.value)


def test_one_image_in_two_files(tmp_path: Path) -> None:
    write(tmp_path, [])
    (tmp_path / "annotations" / "instances_mini.json").write_text(
        (tmp_path / "annotations" / "instances_train.json").read_text()
    )
    shutil.copytree(tmp_path / "train", tmp_path / "mini")
    assert [s.id for s in open_layout("coco", str(tmp_path)).samples()] == ["mini/a", "train/a"]
    shutil.rmtree(tmp_path / "mini")
    photo(tmp_path / "a.jpg", 0)
    (tmp_path / "train" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"a\.jpg is named twice"):
        open_layout("coco", str(tmp_path))
    assert [s.id for s in open_layout("coco", str(tmp_path), split="mini").samples()] == ["a"]


def test_categories_of_two_files_must_agree(tmp_path: Path) -> None:
    write(tmp_path, [])
    other = {"images": [entry(1, "b.jpg")], "annotations": [], "categories": [{"id": 9, "name": "horse"}]}
    write_json(tmp_path / "annotations" / "instances_val.json", other)
    photo(tmp_path / "val" / "b.jpg", 0)
    with pytest.raises(DataError, match="category 9 is 'cat' and 'horse' in two files"):
        open_layout("coco", str(tmp_path))


@pytest.mark.parametrize(
    ("file", "image", "one"),
    [
        ("train/_annotations.coco.json", "train/a.jpg", "train/a"),
        ("_annotations.coco.json", "a.jpg", "a"),
        ("annotations/instances_default.json", "images/a.jpg", "images/a"),
        ("annotations/train.json", "images/train/a.jpg", "images/train/a"),
        ("annotations.json", "images/a.jpg", "images/a"),
    ],
)
def test_other_exports_are_found(tmp_path: Path, file: str, image: str, one: str) -> None:
    whole = {"images": [entry(7, "a.jpg")], "annotations": [], "categories": CATEGORIES}
    write_json(tmp_path / file, whole)
    photo(tmp_path / image, 0)
    assert detect_layout(str(tmp_path)) == "coco"
    assert [s.id for s in open_layout("auto", str(tmp_path)).samples()] == [one]


def test_named_file_may_lie_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "data", [instance(1, 7, 9, compressed(SQUARE))])
    elsewhere = tmp_path / "labels of today.json"
    shutil.move(tmp_path / "data" / "annotations" / "instances_train.json", elsewhere)

    def found(layout: Layout) -> list[str]:
        return [sample.id for sample in layout.samples()]

    assert found(open_layout("auto", str(tmp_path / "data"), annotations=str(elsewhere))) == ["train/a"]
    shutil.copy(elsewhere, tmp_path / "data" / "x.json")
    assert found(open_layout("coco", str(tmp_path / "data"), annotations="x.json")) == ["train/a"]
    with pytest.raises(DataError, match="check --annotations"):
        open_layout("coco", str(tmp_path / "data"), annotations="y.json")
    with pytest.raises(ParameterError, match="layout voc has no option annotations"):
        open_layout("voc", str(tmp_path / "data"), annotations="x.json")


def panoptic(root: Path, ids: np.ndarray, infos: list[dict[str, Any]], **changes: Any) -> Path:
    from PIL import Image

    annotation = {"image_id": 7, "file_name": "a.png", "segments_info": infos, **changes}
    whole = {"images": [entry(7, "a.jpg")], "annotations": [annotation], "categories": CATEGORIES}
    write_json(root / "annotations" / "panoptic_train.json", whole)
    photo(root / "train" / "a.jpg", 0)
    (root / "panoptic_train").mkdir()
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65_536], axis=-1).astype(np.uint8)
    Image.fromarray(colours).save(root / "panoptic_train" / "a.png")
    return root


@pytest.mark.parametrize(
    ("infos", "message"),
    [
        ([], "segment 70000 is not in the JSON file"),
        ([{"id": 70_000, "category_id": 9}, {"id": 4, "category_id": 9}], "segment 4 is not in the PNG file"),
        ([{"id": 70_000, "category_id": 5}], "segment 70000 has the category 5, which is not listed"),
        ([{"id": 70_000}], "no ids and categories"),
    ],
)
def test_panoptic_png_and_json_must_agree(tmp_path: Path, infos: list[dict[str, Any]], message: str) -> None:
    (sample,) = open_layout("auto", str(panoptic(tmp_path, SQUARE * 70_000, infos))).samples()
    with pytest.raises(DataError, match=message):
        sample.read_annotation()


def test_panoptic_png_that_is_missing_or_elsewhere(tmp_path: Path) -> None:
    root = panoptic(tmp_path / "a", SQUARE * 70_000, [{"id": 70_000, "category_id": 9}])
    (root / "panoptic_train" / "a.png").unlink()
    (sample,) = open_layout("auto", str(root)).samples()
    with pytest.raises(DataError, match=r"train/a\.jpg has no panoptic PNG"):
        sample.read_annotation()
    root = panoptic(tmp_path / "b", SQUARE * 70_000, [], file_name="../../secret.png")
    with pytest.raises(DataError, match="leaves the data set"):
        open_layout("auto", str(root))


def test_the_two_kinds_of_files_are_not_mixed_up(tmp_path: Path) -> None:
    root = panoptic(tmp_path / "a", SQUARE * 70_000, [{"id": 70_000, "category_id": 9}])
    with pytest.raises(DataError, match="choose the layout coco-panoptic"):
        open_layout("coco", str(root), annotations="annotations/panoptic_train.json")
    write(tmp_path / "b", [instance(1, 7, 9, compressed(SQUARE))])
    with pytest.raises(DataError, match="choose the layout coco"):
        open_layout("coco-panoptic", str(tmp_path / "b"), annotations="annotations/instances_train.json")


def test_coordinates_are_packed_while_parsing(tmp_path: Path) -> None:
    many = [instance(i, 7, 9, [polygon(0, 0, 5, 5) * 50]) for i in range(3)]
    write(tmp_path, many)
    file = read_coco_file(str(tmp_path), "annotations/instances_train.json")
    (first, *_) = file.instances[7]
    assert first.segmentation[0].itemsize * len(first.segmentation[0]) == 400 * 8
    raw = json.loads((tmp_path / "annotations" / "instances_train.json").read_text())
    assert list(first.segmentation[0]) == raw["annotations"][0]["segmentation"][0]
