"""Which annotations a copy was made with: recorded, found again by `verify`, and what happens to bad ones."""

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

from unseg_core import __version__, storage
from unseg_core.cli import app
from unseg_core.data.layouts import open_layout
from unseg_core.data.layouts.layout import path_inside
from unseg_core.errors import ManifestError, ParameterError
from unseg_core.protect.engine import protect_dataset
from unseg_core.protect.journal import Journal
from unseg_core.protect.manifest import Line, read_manifest, settings_from
from unseg_core.protect.methods.uniform import UniformNoise
from unseg_core.protect.origin import recorded_annotations, recorded_masks
from unseg_core.protect.verify import verify_copy

SIZE = {"width": 48, "height": 40}
CORNERS = [5, 5, 25, 5, 25, 15, 5, 15]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def protect(source: Path, target: Path, *options: object) -> Result:
    return invoke("protect", source, target, "--method", "uniform", *options)


def settings_of(copy: Path) -> dict[str, Any]:
    settings: dict[str, Any] = read_manifest(str(copy))[0]["settings"]
    return settings


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two splits as lists, and masks in two places: the usual, and others below the source."""
    root = write_pairs(tmp_path / "source", 4, rng)
    (root / "train.txt").write_text("photo 00\nphoto 01\n")
    (root / "val.txt").write_text("photo 02\n")
    shutil.copytree(root / "masks", root / "labels" / "coarse")
    for path in (root / "labels" / "coarse").iterdir():
        Image.new("L", (48, 40), 255).save(path)
    return root


def write_coco(root: Path, path: str = "labels/boxes.json", **changes: Any) -> None:
    """Both images of a folder `images/`, an object in each; `changes` to the first image or its object."""
    images = [{"id": i, "file_name": f"images/photo {i:02d}.png", **SIZE} for i in range(2)]
    objects = [{"id": i, "image_id": i, "category_id": 1, "segmentation": [CORNERS]} for i in range(2)]
    images[0] |= {key: value for key, value in changes.items() if key in images[0]}
    objects[0] |= {key: value for key, value in changes.items() if key not in images[0]}
    contents = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "disc"}]}
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(json.dumps(contents))


def assert_verified(copy: Path, source: Path, count: int) -> None:
    checked = invoke("verify", copy, "--against", source, "--json")
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["checked"] == count


def test_verify_knows_split_masks_and_annotations(source: Path, tmp_path: Path) -> None:
    options = ["--split", "train", "--masks", source / "labels" / "coarse"]
    assert protect(source, tmp_path / "copy", *options).exit_code == 0
    found = settings_of(tmp_path / "copy")
    assert (found["split"], found["masks"], found["annotations"]) == ("train", "labels/coarse", "")
    assert_verified(tmp_path / "copy", source, 2)
    moved = source.rename(tmp_path / "elsewhere")
    assert_verified(tmp_path / "copy", moved, 2)
    other = invoke("verify", tmp_path / "copy", "--against", moved, "--split", "val")
    assert other.exit_code == 1
    assert "photo 02.png: not in the manifest" in other.stdout
    assert invoke("verify", tmp_path / "copy", "--against", moved, "--masks", moved / "masks").exit_code == 1


@pytest.mark.parametrize("absolute", [False, True])
def test_annotations_below_the_source_are_found_again(source: Path, tmp_path: Path, absolute: bool) -> None:
    write_coco(source)
    given = source / "labels" / "boxes.json" if absolute else "labels/boxes.json"
    assert protect(source, tmp_path / "copy", "--annotations", given).exit_code == 0
    assert settings_of(tmp_path / "copy")["annotations"] == "labels/boxes.json"
    assert_verified(tmp_path / "copy", source.rename(tmp_path / "moved"), 2)


def test_what_lies_elsewhere_is_a_hash_and_must_be_named(source: Path, tmp_path: Path) -> None:
    masks = (source / "labels" / "coarse").rename(tmp_path / "masks")
    write_coco(tmp_path, "annotations.json")
    for option, given in (("masks", masks), ("annotations", tmp_path / "annotations.json")):
        copy = tmp_path / f"copy-{option}"
        assert protect(source, copy, f"--{option}", given).exit_code == 0
        assert settings_of(copy)[option].startswith("sha256:")
        for path in ("manifest.json", "manifest.jsonl", "DATASET_CARD.md"):
            assert str(tmp_path) not in (copy / path).read_text()
        refused = invoke("verify", copy, "--against", source)
        assert refused.exit_code == 2
        assert f"name them (--{option})" in refused.stderr
        with pytest.raises(ParameterError, match="did not come from its source"):
            verify_copy(str(copy), str(source))
        assert invoke("verify", copy, "--against", source, f"--{option}", given).exit_code == 0
        assert invoke("verify", copy).exit_code == 0


def test_a_run_is_not_continued_with_other_annotations(source: Path, tmp_path: Path) -> None:
    elsewhere = [shutil.copytree(source / "labels" / "coarse", tmp_path / name) for name in ("a", "b", "c")]
    Image.new("L", (48, 40), 0).save(elsewhere[2] / "photo 03.png")
    options = ["--layout", "folder", "--masks", elsewhere[0]]
    assert protect(source, tmp_path / "copy", *options).exit_code == 0
    settings = settings_from(settings_of(tmp_path / "copy"))
    # As a run leaves it that was cut off.
    journal = Journal(str(tmp_path / "copy"))
    journal.begin(settings)
    journal.release()
    (tmp_path / "copy" / "manifest.json").unlink()
    for changed in (
        ["--masks", elsewhere[2]],
        ["--masks", source / "labels" / "coarse"],
        [],
        [*options, "--split", "train"],
    ):
        refused = protect(source, tmp_path / "copy", *changed)
        assert refused.exit_code == 2, changed
        assert "other settings" in refused.stderr
    assert protect(source, tmp_path / "copy", "--layout", "folder", "--masks", elsewhere[1]).exit_code == 0


def test_manifests_from_before_are_read(source: Path, tmp_path: Path) -> None:
    assert protect(source, tmp_path / "copy").exit_code == 0
    summary = json.loads((tmp_path / "copy" / "manifest.json").read_text())
    for name in ("split", "masks", "annotations"):
        assert summary["settings"].pop(name) == ""
    (tmp_path / "copy" / "manifest.json").write_text(json.dumps(summary))
    assert_verified(tmp_path / "copy", source, 4)
    settings = settings_from(summary["settings"])
    journal = Journal(str(tmp_path / "other"))
    journal.begin(settings)
    storage.write_file(
        f"{journal.work}/settings.json", json.dumps({**summary["settings"], "version": __version__}).encode()
    )
    assert journal.matches(settings)
    storage.write_file(
        f"{journal.work}/settings.json", json.dumps({**summary["settings"], "version": "0.1.0"}).encode()
    )
    assert not journal.matches(settings), "another version's noise may differ"
    storage.write_file(f"{journal.work}/settings.json", b"{}")
    assert not journal.matches(settings)
    del summary["settings"]["seed"]
    with pytest.raises(ManifestError, match="have no 'seed'"):
        settings_from(summary["settings"])


def test_paths_are_recorded_below_their_root(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert recorded_masks("source", None) == recorded_annotations("source", None) == ""
    assert recorded_masks("source", str(source / "labels" / "coarse")) == "labels/coarse"
    assert recorded_masks(source.as_uri(), "source/labels/../labels/coarse") == "labels/coarse"
    assert path_inside("s3://bucket/set/", "s3://bucket/set/masks/") == "masks"
    assert path_inside("s3://bucket/set", "s3://bucket/set/") == "."
    assert path_inside("s3://bucket/set", "s3://bucket/settings") is None
    assert path_inside("s3://bucket/set", str(source)) is None


def lines_of(copy: Path) -> dict[str, Line]:
    return {line.image: line for line in read_manifest(str(copy))[1]}


RLES: dict[str, tuple[object, str]] = {
    "too short": ({"size": [40, 48], "counts": [900, 100]}, "counts 1000 pixels of 1920"),
    "too long": ({"size": [40, 48], "counts": [900, 10**9]}, "an RLE counts"),
    "of another size": ({"size": [48, 40], "counts": [1000, 920]}, "of size"),
    "compressed, too short": ({"size": [40, 48], "counts": "05"}, "an RLE counts"),
    "no RLE": ({"size": [40, 48], "counts": "\x7f"}, "cannot be read"),
}


@pytest.mark.parametrize("kind", list(RLES))
def test_a_bad_rle_fails_its_image_alone(source: Path, tmp_path: Path, kind: str) -> None:
    segmentation, message = RLES[kind]
    write_coco(source, segmentation=segmentation)
    done = protect(source, tmp_path / "copy", "--annotations", "labels/boxes.json")
    assert done.exit_code == 1
    lines = lines_of(tmp_path / "copy")
    bad = lines["images/photo 00.png"]
    assert (bad.status, bad.output) == ("failed", None)
    assert "annotation 0" in str(bad.reason)
    assert message in str(bad.reason)
    assert lines["images/photo 01.png"].status == "protected"
    assert not (tmp_path / "copy" / "images" / "photo 00.png").exists()
    assert_verified(tmp_path / "copy", source, 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../secret.png", "leaves the data set"),
        ("images/../../secret.png", "leaves the data set"),
        ("/etc/hostname", "leaves the data set"),
        ("images/absent.png", "images/absent.png has no image (1 such"),
    ],
)
def test_paths_of_annotations_stay_in_the_data_set(source: Path, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "secret.png").write_bytes((source / "images" / "photo 00.png").read_bytes())
    write_coco(source, file_name=name)
    done = protect(source, tmp_path / "copy", "--annotations", "labels/boxes.json")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("entry", ["../../secret", "/etc/hostname", "absent"])
def test_lists_of_a_split_stay_in_the_data_set(source: Path, tmp_path: Path, entry: str) -> None:
    (source / "train.txt").write_text(f"photo 00\n{entry}\n")
    done = protect(source, tmp_path / "copy", "--split", "train")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert Path(entry).name in done.stderr
    assert not (tmp_path / "copy").exists()


def test_a_panoptic_png_that_is_not_there_fails_its_image(source: Path, tmp_path: Path) -> None:
    segments = [{"id": 7, "category_id": 1}]
    contents = {
        "images": [{"id": 0, "file_name": "photo 00.png", **SIZE}],
        "annotations": [{"image_id": 0, "file_name": "photo 00.png", "segments_info": segments}],
        "categories": [{"id": 1, "name": "disc", "isthing": 1}],
    }
    (source / "annotations" / "panoptic_images").mkdir(parents=True)
    (source / "annotations" / "panoptic_images.json").write_text(json.dumps(contents))
    layout = open_layout("coco-panoptic", str(source))
    assert protect(source, tmp_path / "copy", "--layout", "coco-panoptic").exit_code == 1
    (line,) = lines_of(tmp_path / "copy").values()
    assert (line.status, line.output) == ("failed", None)
    assert "has no panoptic PNG" in str(line.reason)
    contents["annotations"][0]["file_name"] = "../../../secret.png"
    (source / "annotations" / "panoptic_images.json").write_text(json.dumps(contents))
    refused = protect(source, tmp_path / "other", "--layout", "coco-panoptic")
    assert refused.exit_code == 2
    assert "leaves the data set" in refused.stderr
    # Opened before, the files are not read again: what was checked is what is used.
    settings = settings_from(settings_of(tmp_path / "copy"))
    totals = protect_dataset(layout, UniformNoise(), settings, str(tmp_path / "third"))["totals"]
    assert totals["failed"] == 1
    assert tree(tmp_path / "third")["images/photo 01.png"] == tree(source)["images/photo 01.png"]
