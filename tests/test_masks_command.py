"""Teams without masks: the whole image as one region, proposed masks, boxes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from conftest import write_pairs
from PIL import Image
from test_protect import tree
from typer.testing import CliRunner

from unseg_core.cli import app
from unseg_core.data.layouts import open_layout
from unseg_core.data.sample import union_mask
from unseg_core.errors import DataError, ParameterError
from unseg_core.model.generator import Generator
from unseg_core.model.sizes import TINY
from unseg_core.model.weights import initialise, save_weights
from unseg_core.protect.manifest import read_manifest

# An untrained SAM is sure of nothing.
ANYTHING = ["--points-per-side", "4", "--predicted-iou", "-100", "--stability", "0", "--largest-share", "1"]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny and untrained, with SAM's own parts as far as anyone can tell."""
    path = tmp_path_factory.mktemp("generator") / "generator.safetensors"
    save_weights(initialise(Generator, TINY, 3), path, kind="generator", provenance={"initialisation": "sam"})
    return path


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two images in the folder itself and one in a folder of it; no masks."""
    root = write_pairs(tmp_path / "made", 3, rng) / "images"
    (root / "more").mkdir()
    (root / "photo 02.png").rename(root / "more" / "photo 02.png")
    return root.rename(tmp_path / "photos")


def test_whole_images_need_no_masks(photos: Path, tmp_path: Path, generator: Path) -> None:
    (photos / "terms.txt").write_text("keep me")
    done = invoke("protect", photos, tmp_path / "safe", "--prompt", "whole", "--generator", generator, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["totals"]["protected"] == 3
    assert set(tree(photos)) == set(tree(tmp_path / "safe")) - {"manifest.json", "manifest.jsonl", "DATASET_CARD.md"}
    for line in read_manifest(str(tmp_path / "safe"))[1]:
        assert (line.linf_outside, line.prompt) == (0, "whole")
        assert 2 < (line.linf_inside or 0) <= 8
    checked = invoke("verify", tmp_path / "safe", "--against", photos)
    assert (checked.exit_code, checked.stdout.strip()) == (0, "3 images checked (3 protected): 0 differences")


def test_without_masks_the_ways_out_are_named(photos: Path, tmp_path: Path) -> None:
    refused = invoke("protect", photos, tmp_path / "safe", "--method", "uniform")
    assert refused.exit_code == 2
    assert all(way in refused.stderr for way in ("--masks", "`unseg masks`", "--prompt whole"))
    with pytest.raises(ParameterError, match="has no masks, so it has no classes"):
        open_layout("folder", str(photos), classes=("cat", "dog"), whole=True)
    (photos / "photo 00.png").write_bytes(b"garbage")
    broken, good, _ = open_layout("auto", str(photos), whole=True).samples()
    with pytest.raises(DataError, match=r"photo 00\.png cannot be decoded"):
        broken.read_annotation()
    assert union_mask(good.read_annotation()).all()


def test_images_that_have_masks_keep_them_under_the_prompt_whole(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 2, rng)
    (source / "masks" / "photo 01.png").unlink()
    first, second = open_layout("folder", str(source), whole=True).samples()
    assert not union_mask(first.read_annotation()).all()
    with pytest.raises(DataError, match="has no mask"):
        second.read_annotation()


@pytest.mark.parametrize("place", ["beside", "below"])
def test_proposed_masks_protect(photos: Path, tmp_path: Path, generator: Path, place: str) -> None:
    masks = photos / "masks" if place == "below" else tmp_path / "masks"
    (photos / "broken.png").write_bytes(b"garbage")
    done = invoke("masks", photos, masks, "--generator", generator, *ANYTHING, "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["written"], found["kept"], list(found["failed"])) == (1, 3, 0, ["broken.png"])
    (photos / "broken.png").unlink()
    assert set(tree(masks)) == {name for name in tree(photos) if not name.startswith("masks/")}
    for name in tree(masks):
        mask = Image.open(masks / name)
        assert (mask.mode, mask.size) == ("L", (48, 40))
        assert set(np.unique(mask)) <= {0, 255}
    before = tree(masks)
    (masks / "photo 00.png").unlink()
    again = invoke("masks", photos, masks, "--generator", generator, *ANYTHING, "--json")
    assert (again.exit_code, json.loads(again.stdout)) == (
        0,
        {**found, "images": 3, "written": 1, "kept": 2, "failed": {}},
    )
    assert tree(masks) == before
    given = ["--masks", masks] if place == "beside" else []
    assert invoke("protect", photos, tmp_path / "safe", "--method", "uniform", *given).exit_code == 0
    assert invoke("verify", tmp_path / "safe", "--against", photos, *given).exit_code == 0


def test_images_without_a_proposal_are_counted(photos: Path, tmp_path: Path, generator: Path) -> None:
    for outcome in ("3 masks written, 0 kept", "0 masks written, 3 kept"):
        done = invoke("masks", photos, tmp_path / "masks", "--generator", generator, "--points-per-side", "2")
        assert done.exit_code == 0
        assert outcome in done.stdout
        assert "3 without an object: see --no-target" in done.stdout


def test_masks_are_refused_where_they_cannot_be(photos: Path, tmp_path: Path, generator: Path) -> None:
    random = tmp_path / "random.safetensors"
    save_weights(initialise(Generator, TINY, 3), random, kind="generator", provenance={"initialisation": "random"})
    cases: list[tuple[Path, Path, list[object], str]] = [
        (photos, tmp_path / "masks", ["--generator", random], "has no SAM in it that could propose masks"),
        (photos, photos, ["--generator", generator], "holds the images, and masks have their names"),
        (photos, tmp_path, ["--generator", generator], "holds the images, and masks have their names"),
        (tmp_path / "absent", tmp_path / "masks", ["--generator", generator], "is not a folder"),
        (photos, tmp_path / "masks", ["--generator", generator, "--points-per-side", "0"], "points_per_side is 0"),
    ]
    before = tree(photos)
    for source, target, options, message in cases:
        done = invoke("masks", source, target, *options)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert message in done.stderr
    assert tree(photos) == before
    assert not (tmp_path / "masks").exists()


BOX = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [5.0, 6.0, 20.0, 10.0]}


@pytest.fixture
def boxes(photos: Path) -> Path:
    """A data set of one image with one box and no mask."""
    shutil.rmtree(photos / "more")
    (photos / "photo 01.png").unlink()
    return photos


def write_boxes(root: Path, *annotations: dict[str, Any]) -> Path:
    contents = {
        "images": [{"id": 0, "file_name": "photo 00.png", "width": 48, "height": 40}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "disc"}],
    }
    (root / "annotations.json").write_text(json.dumps(contents))
    return root


@pytest.mark.parametrize("more", [{}, {"segmentation": []}, {"segmentation": None}])
def test_a_box_is_the_mask_where_none_is_given(boxes: Path, tmp_path: Path, generator: Path, more: Any) -> None:
    write_boxes(boxes, {**BOX, **more})
    layout = open_layout("auto", str(boxes))
    (sample,) = layout.samples()
    expected = np.zeros((40, 48), dtype=bool)
    expected[6:16, 5:25] = True
    assert layout.name == "coco"
    assert np.array_equal(union_mask(sample.read_annotation()), expected)
    done = invoke("protect", boxes, tmp_path / "safe", "--prompt", "box", "--generator", generator)
    assert done.exit_code == 0, done.stderr
    assert invoke("verify", tmp_path / "safe", "--against", boxes).exit_code == 0


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([1, 2, 3], "annotation 1: its bbox is no list of four numbers"),
        ("5 6 20 10", "annotation 1: its bbox is no list of four numbers"),
        ([9, 9, -4, 4], "annotation 1: its bbox is no list of four numbers"),
        ([0, 0, 1e9, 1], "annotation 1: a polygon lies outside of the image"),
        ([0, 0, float("nan"), 1], "annotation 1: a polygon lies outside of the image"),
    ],
)
def test_boxes_that_cannot_be(boxes: Path, box: Any, message: str) -> None:
    (sample,) = open_layout("coco", str(write_boxes(boxes, {**BOX, "bbox": box}))).samples()
    with pytest.raises(DataError, match=message):
        sample.read_annotation()


def test_a_box_among_masks_is_a_mistake(boxes: Path) -> None:
    masked = {**BOX, "id": 2, "segmentation": [[5, 5, 25, 5, 25, 15, 5, 15]]}
    (sample,) = open_layout("coco", str(write_boxes(boxes, BOX, masked))).samples()
    with pytest.raises(DataError, match="annotation 1: it has no mask"):
        sample.read_annotation()
    (boxes / "annotations").mkdir()
    write_boxes(boxes, BOX)
    (boxes / "annotations.json").rename(boxes / "annotations" / "NWPU_instances_train.json")
    with pytest.raises(DataError, match="has boxes and no masks"):
        open_layout("auto", str(boxes))
