"""Which gratings a data set gets where no method is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_layouts import MAKERS
from typer.testing import CliRunner

from unseg_core.cli import app
from unseg_core.data.layouts import open_layout
from unseg_core.protect.choice import EXAMINED, Examination
from unseg_core.stripes import CYCLES, CYCLES_FOR_SMALL

SIDE = 24


def write_maps(root: Path, *, count: int, covered: float, classes: int) -> Path:
    """A folder of label maps: classes in turn as rows, below them what has none."""
    for number in range(count):
        labels = 1 + (np.arange(SIDE)[:, None] + np.zeros((1, SIDE), dtype=int)) % classes
        labels[round(covered * SIDE) :] = 0
        for folder, values in (("images", labels * 9), ("masks", labels)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(root / folder / f"{number:03}.png")
    (root / "classes.json").write_text(json.dumps({str(i): f"class {i}" for i in range(classes + 1)}))
    return root


@pytest.mark.parametrize(
    ("covered", "classes", "targets", "method"),
    [
        (1.0, 5, "all", "class-grating"),
        (0.8, 2, "all", "class-grating"),
        (0.5, 5, "all", "grating"),
        (1.0, 5, "class 1", "grating"),
        (1.0, 2, "class 1,class 2", "class-grating"),
        (1.0, 1, "all", "grating"),
    ],
)
def test_class_gratings_where_several_classes_cover_the_images(
    tmp_path: Path, covered: float, classes: int, targets: str, method: str
) -> None:
    write_maps(tmp_path / "data", count=4, covered=covered, classes=classes)
    assert Examination(open_layout("folder", str(tmp_path / "data")), targets).gratings() == method


@pytest.mark.parametrize("name", ["voc", "coco", "nwpu", "kvasir"])
def test_objects_in_surroundings_get_one_kind(tmp_path: Path, name: str) -> None:
    MAKERS[name](tmp_path / "data")
    assert Examination(open_layout(name, str(tmp_path / "data")), "all").gratings() == "grating"


def test_it_is_the_images_as_a_whole_that_count(tmp_path: Path) -> None:
    """More images than are examined, one in ten covered whole. Damaged masks are left for the protection to report."""
    count = 3 * EXAMINED
    write_maps(tmp_path / "data", count=count, covered=0.3, classes=3)
    for number in range(0, count, 10):
        Image.fromarray(np.full((SIDE, SIDE), 2, dtype=np.uint8)).save(tmp_path / "data" / "masks" / f"{number:03}.png")
    for number in range(5, count, 10):
        (tmp_path / "data" / "masks" / f"{number:03}.png").write_bytes(b"no image")
    layout = open_layout("folder", str(tmp_path / "data"))
    assert {Examination(layout, "all").gratings() for _ in range(2)} == {"grating"}


def test_the_choice_is_recorded_and_a_named_method_is_kept(tmp_path: Path) -> None:
    source = write_maps(tmp_path / "data", count=3, covered=1.0, classes=5)
    for arguments, method in (([], "class-grating"), (["--method", "grating"], "grating")):
        copy = tmp_path / method
        done = CliRunner().invoke(app, ["protect", str(source), str(copy), *arguments])
        assert done.exit_code == 0, done.output
        assert json.loads((copy / "manifest.json").read_text())["settings"]["method"] == method
        assert ("several classes cover the images" in done.stderr) == (method == "grating")


def test_classes_are_ordered_by_what_they_cover(tmp_path: Path) -> None:
    """Those that are not in the images are left out, as is what is no target; damaged masks do not count."""
    root, rows = tmp_path / "data", np.zeros((SIDE, SIDE), dtype=np.uint8)
    rows[:12], rows[12:20], rows[20:22] = 3, 5, 1
    write_maps(root, count=6, covered=1.0, classes=6)
    for number in range(5):
        Image.fromarray(rows).save(root / "masks" / f"{number:03}.png")
    (root / "masks" / "005.png").write_bytes(b"no image")
    layout = open_layout("folder", str(root))
    assert Examination(layout, "all").class_order("class-grating") == (3, 5, 1)
    assert Examination(layout, "class 1,class 5").class_order("class-grating") == (5, 1)
    assert Examination(layout, "all").class_order("grating") == ()


def test_the_order_of_classes_is_recorded_and_followed(tmp_path: Path) -> None:
    """A class that covers the images has the same stripes whatever its number: those of the first."""
    copies = []
    for number in (1, 9):
        root = write_maps(tmp_path / str(number), count=2, covered=1.0, classes=9)
        for path in (root / "masks").iterdir():
            labels = np.full((SIDE, SIDE), number, dtype=np.uint8)
            labels[0, :2] = 2, 4
            Image.fromarray(labels).save(path)
        copy = tmp_path / f"copy {number}"
        arguments = ["protect", str(root), str(copy), "--method", "class-grating"]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        assert json.loads((copy / "manifest.json").read_text())["settings"]["class_order"] == [number, 2, 4]
        copies.append(np.asarray(Image.open(copy / "images" / "000.png")))
    assert np.array_equal(copies[0][1:], copies[1][1:])


def test_crowds_are_told(tmp_path: Path) -> None:
    MAKERS["coco"](tmp_path / "data")
    (warning,) = Examination(open_layout("coco", str(tmp_path / "data")), "all").warnings("grating")
    assert "marked as crowds (iscrowd), which are not protected" in warning
    assert "(1 in the images looked at" in warning


def write_objects(root: Path, *sides: int) -> Path:
    """A folder of three images of 100 pixels, each with squares of these sides."""
    mask = np.zeros((100, 100), dtype=np.uint8)
    for column, side in enumerate(sides):
        mask[:side, 10 * column : 10 * column + side] = 255
    for number in range(3):
        for folder, values in (("images", np.stack([mask // 2] * 3, axis=2)), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / folder / f"{number}.png")
    (root / "masks" / "0.png").write_bytes(b"no image")
    return root


@pytest.mark.parametrize(
    ("sides", "cycles"),
    [((7, 7, 7, 30), CYCLES), ((7, 7, 7, 7, 7, 30), CYCLES_FOR_SMALL), ((8,), CYCLES), ((), CYCLES)],
)
def test_stripes_are_finer_where_objects_are_small(tmp_path: Path, sides: tuple[int, ...], cycles: int) -> None:
    """By the share of what small ones cover; damaged masks do not count."""
    layout = open_layout("folder", str(write_objects(tmp_path, *sides)))
    examination = Examination(layout, "all")
    assert examination.cycles("grating") == examination.cycles("unseg") == cycles
    assert examination.cycles("class-grating") == examination.cycles("uniform") == CYCLES


@pytest.mark.parametrize("method", ["grating", "unseg"])
def test_how_fine_stripes_are_is_recorded_and_followed(tmp_path: Path, method: str) -> None:
    copies = {}
    for name, sides in (("small", (7,)), ("large", (30,))):
        root = write_objects(tmp_path / name, *sides)
        (root / "masks" / "0.png").write_bytes((root / "masks" / "1.png").read_bytes())
        done = CliRunner().invoke(app, ["protect", str(root), str(tmp_path / f"{name} copy"), "--method", method])
        assert done.exit_code == 0, done.output
        settings = json.loads((tmp_path / f"{name} copy" / "manifest.json").read_text())["settings"]
        copies[settings["cycles"]] = np.asarray(Image.open(tmp_path / f"{name} copy" / "images" / "1.png")).astype(int)
    assert set(copies) == {CYCLES, CYCLES_FOR_SMALL}
    rows = [copy[90] - copy[90].min(axis=0) for copy in copies.values()]
    assert not np.array_equal(*rows), "diagonals around, far from the objects"
