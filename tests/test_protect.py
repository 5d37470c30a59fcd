"""Protecting a folder: budget, manifest, failures, restart after a kill, verification, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from conftest import PROJECT, write_pairs
from PIL import Image
from typer.testing import CliRunner

from unseg_core.cli import app
from unseg_core.data.layouts import open_layout
from unseg_core.errors import DataError, ManifestError, ParameterError
from unseg_core.params import DatasetParams, ProtectParams
from unseg_core.protect.engine import protect_dataset
from unseg_core.protect.journal import Journal
from unseg_core.protect.manifest import Settings, read_manifest
from unseg_core.protect.methods.uniform import UniformNoise
from unseg_core.protect.verify import verify_copy
from unseg_core.stripes import FINE


def settings(**changes: Any) -> Settings:
    known = {k: v for k, v in changes.items() if k in DatasetParams.__dataclass_fields__}
    dataset = DatasetParams(**{"classes": ("object",), **known})
    how = ProtectParams(**{k: v for k, v in changes.items() if k in ProtectParams.__dataclass_fields__})
    return Settings.of(dataset, how, method="uniform", generator_sha256=None, precision="fp32")


def protect(source: Path, target: Path, *, workers: int = 2, overwrite: bool = False, **changes: Any) -> dict[str, Any]:
    layout = open_layout("folder", str(source))
    return protect_dataset(
        layout, UniformNoise(), settings(**changes), str(target), workers=workers, overwrite=overwrite
    )


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    root = write_pairs(tmp_path / "source", 6, rng)
    (root / "notes" / "deep").mkdir(parents=True)
    (root / "notes" / "deep" / "license.txt").write_text("keep me")
    return root


def test_copy_mirrors_the_tree_and_keeps_the_budget(source: Path, tmp_path: Path) -> None:
    summary = protect(source, tmp_path / "copy")
    original, copy = tree(source), tree(tmp_path / "copy")
    assert set(copy) == set(original) | {"manifest.json", "manifest.jsonl", "DATASET_CARD.md"}
    for name in original:
        assert (copy[name] == original[name]) == (not name.startswith("images/"))
    assert summary["totals"]["protected"] == 6
    assert 7 <= summary["totals"]["linf_inside"] <= 8
    assert summary["totals"]["linf_outside"] == 2
    result = verify_copy(str(tmp_path / "copy"), str(source))
    assert (result.checked, result.differences, result.over_budget) == (6, (), ())


def test_bytes_do_not_depend_on_the_number_of_workers(source: Path, tmp_path: Path) -> None:
    protect(source, tmp_path / "one", workers=1)
    protect(source, tmp_path / "five", workers=5)
    assert tree(tmp_path / "one") == tree(tmp_path / "five")


def test_jpeg_states_what_re_encoding_adds_and_png_is_exact(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 3, rng, extension="jpg")
    protect(source, tmp_path / "jpeg")
    protect(source, tmp_path / "png", image_format="png")
    assert sorted(p.suffix for p in (tmp_path / "jpeg" / "images").iterdir()) == [".jpg"] * 3
    _, lines = read_manifest(str(tmp_path / "jpeg"))
    assert all(line.linf_inside is not None and line.linf_inside <= 8 + 4 for line in lines)
    assert not verify_copy(str(tmp_path / "jpeg"), str(source)).differences
    _, lines = read_manifest(str(tmp_path / "png"))
    assert all(line.output == f"images/{line.id}.png" and (line.linf_inside or 0) <= 8 for line in lines)
    assert verify_copy(str(tmp_path / "png"), str(source)).over_budget == ()


def test_unusable_images_are_failed_and_never_copied(source: Path, tmp_path: Path) -> None:
    (source / "images" / "photo 00.png").write_bytes(b"garbage")
    Image.new("L", (3, 3)).save(source / "masks" / "photo 01.png")
    (source / "masks" / "photo 02.png").unlink()
    Image.new("L", (48, 40)).save(source / "masks" / "photo 03.png")
    totals = protect(source, tmp_path / "copy")["totals"]
    assert (totals["protected"], totals["no_target"], totals["failed"]) == (2, 1, 3)
    _, lines = read_manifest(str(tmp_path / "copy"))
    reasons = {line.id: line.reason for line in lines if line.status == "failed"}
    assert "cannot be decoded" in str(reasons["photo 00"])
    assert "mask is 3x3 but the image 48x40" in str(reasons["photo 01"])
    assert "has no mask" in str(reasons["photo 02"])
    assert sorted(p.name for p in (tmp_path / "copy" / "images").iterdir()) == [
        "photo 03.png",
        "photo 04.png",
        "photo 05.png",
    ]
    assert "photo 00.png" in (tmp_path / "copy" / "DATASET_CARD.md").read_text()


@pytest.mark.parametrize(
    ("no_target", "written", "status"),
    [("copy", True, "no_target"), ("skip", False, "no_target"), ("whole", True, "protected")],
)
def test_image_without_target(source: Path, tmp_path: Path, no_target: str, written: bool, status: str) -> None:
    Image.new("L", (48, 40)).save(source / "masks" / "photo 03.png")
    protect(source, tmp_path / "copy", no_target=no_target)
    _, lines = read_manifest(str(tmp_path / "copy"))
    line = next(line for line in lines if line.id == "photo 03")
    path = tmp_path / "copy" / "images" / "photo 03.png"
    assert (line.status, path.exists()) == (status, written)
    if written:
        same = path.read_bytes() == (source / "images" / "photo 03.png").read_bytes()
        assert same == (no_target == "copy")
    assert not verify_copy(str(tmp_path / "copy"), str(source)).differences


def test_grey_and_transparent_images_stay_what_they_are(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 2, rng)
    grey = source / "images" / "photo 00.png"
    Image.open(grey).convert("L").save(grey)
    clear = source / "images" / "photo 01.png"
    Image.open(clear).convert("RGBA").save(clear)
    protect(source, tmp_path / "copy")
    assert [Image.open(p).mode for p in sorted((tmp_path / "copy" / "images").iterdir())] == ["L", "RGBA"]
    assert not verify_copy(str(tmp_path / "copy"), str(source)).differences


def test_grey_files_have_the_fine_stripes_at_the_full_budget(tmp_path: Path) -> None:
    """Coarse stripes without colour protect nothing."""
    source = tmp_path / "source"
    for folder, value in (("images", 100), ("masks", 255)):
        (source / folder).mkdir(parents=True)
        Image.new("L", (160, 160), value).save(source / folder / "flat.png")
    copies = {method: tmp_path / method for method in ("grating", "dual-grating")}
    for method, copy in copies.items():
        assert invoke("protect", source, copy, "--method", method).exit_code == 0
    stripes, same = (np.array(Image.open(copy / "images" / "flat.png")).astype(int) - 100 for copy in copies.values())
    assert np.array_equal(stripes, same)
    assert set(np.unique(stripes)) == {-8, 8}
    assert np.abs(np.fft.rfft(stripes[0])).argmax() == FINE


def test_verify_finds_every_kind_of_difference(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    protect(source, copy)
    (copy / "masks" / "photo 00.png").write_bytes((copy / "masks" / "photo 01.png").read_bytes())
    (copy / "images" / "photo 02.png").unlink()
    (copy / "images" / "photo 03.png").write_bytes((source / "images" / "photo 03.png").read_bytes())
    (copy / "extra.txt").write_text("new")
    (source / "images" / "photo 04.png").write_bytes((source / "images" / "photo 05.png").read_bytes())
    text = "\n".join(verify_copy(str(copy), str(source)).differences)
    for part in (
        "masks/photo 00.png: differs from the source",
        "images/photo 02.png: missing",
        "images/photo 03.png: changed after it was written",
        "extra.txt: not in the source",
        "images/photo 04.png: the source is not the file that was protected",
    ):
        assert part in text
    assert "photo 05" not in text
    (copy / "manifest.jsonl").write_text("")
    with pytest.raises(ManifestError, match="was changed"):
        verify_copy(str(copy))
    (copy / "manifest.json").unlink()
    with pytest.raises(ManifestError, match="no complete manifest"):
        verify_copy(str(copy))


def test_refusals_leave_nothing_behind(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="lie in each other"):
        protect(source, source / "copy")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ParameterError, match="is not empty"):
        protect(source, tmp_path / "full")
    assert tree(tmp_path / "full") == {"mine.txt": b"mine"}
    (source / "images" / "photo 00.png").unlink()
    with pytest.raises(DataError, match=r"photo 00.png has no image \(1 such masks\)"):
        protect(source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_finished_copy_is_replaced_only_on_request(source: Path, tmp_path: Path) -> None:
    protect(source, tmp_path / "copy")
    with pytest.raises(ParameterError, match="--overwrite"):
        protect(source, tmp_path / "copy", seed=1)
    protect(source, tmp_path / "copy", seed=1, overwrite=True)
    assert read_manifest(str(tmp_path / "copy"))[0]["settings"]["seed"] == 1


def test_a_run_that_is_going_on_is_left_alone(source: Path, tmp_path: Path) -> None:
    """Also by one that would replace it."""
    running = Journal(str(tmp_path / "copy"))
    running.begin(settings())
    for changes in ({}, {"seed": 1}, {"seed": 1, "overwrite": True}):
        with pytest.raises(ParameterError, match="another run is writing to"):
            protect(source, tmp_path / "copy", **changes)
    running.release()
    protect(source, tmp_path / "copy", seed=1, overwrite=True)
    assert verify_copy(str(tmp_path / "copy"), str(source)).differences == ()


def test_a_target_that_is_a_link_stays_one(source: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "copy").symlink_to(tmp_path / "disk")
    protect(source, tmp_path / "copy")
    protect(source, tmp_path / "copy", seed=1, overwrite=True)
    assert (tmp_path / "copy").is_symlink()
    assert (tmp_path / "disk" / "manifest.json").exists()


def test_nothing_protected_is_no_success(source: Path, tmp_path: Path) -> None:
    for mask in (source / "masks").iterdir():
        Image.fromarray(np.zeros((40, 48), dtype=np.uint8)).save(mask)
    done = CliRunner().invoke(app, ["protect", str(source), str(tmp_path / "copy")])
    assert done.exit_code == 1
    assert "no image was protected: check --targets and the masks" in done.output
    done = CliRunner().invoke(app, ["verify", str(tmp_path / "copy")])
    assert done.stdout.strip() == "6 images checked (0 protected, 6 without a target): 0 differences"
    done = CliRunner().invoke(
        app, ["report", str(tmp_path / "copy"), "--against", str(source), "--out", str(tmp_path / "r.html")]
    )
    assert done.exit_code == 1


def test_killed_run_continues_to_the_same_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 60, rng, side=200)
    command = ["protect", source, tmp_path / "copy", "--method", "uniform", "--workers", "1", "--layout", "folder"]
    process = subprocess.Popen([sys.executable, "-m", "unseg_core.cli", *map(str, command)], cwd=PROJECT)
    journal = Journal(str(tmp_path / "copy"))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and journal.count() < 8:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "copy" / "manifest.json").exists()
    assert 8 <= journal.count() < 60
    with pytest.raises(ManifestError, match="other settings"):
        protect(source, tmp_path / "copy", seed=9)
    protect(source, tmp_path / "copy")
    protect(source, tmp_path / "whole")
    assert tree(tmp_path / "copy") == tree(tmp_path / "whole")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_command_line_exit_codes_and_json(source: Path, tmp_path: Path) -> None:
    done = invoke("protect", source, tmp_path / "copy", "--method", "uniform", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["totals"]["protected"] == 6
    assert invoke("verify", tmp_path / "copy", "--against", source).exit_code == 0
    (tmp_path / "copy" / "images" / "photo 00.png").write_bytes(b"x")
    checked = invoke("verify", tmp_path / "copy", "--json")
    assert checked.exit_code == 1
    assert len(json.loads(checked.stdout)["differences"]) == 1
    (source / "images" / "photo 01.png").write_bytes(b"x")
    partly = invoke("protect", source, tmp_path / "partly", "--method", "uniform")
    assert partly.exit_code == 1
    assert "1 failed" in partly.stdout
    planned = invoke("protect", source, tmp_path / "plan", "--method", "uniform", "--dry-run", "--json")
    plan = json.loads(planned.stdout)
    sizes = {name: len(data) for name, data in tree(source).items()}
    images = {name: size for name, size in sizes.items() if name.startswith("images/")}
    assert (plan["images"], plan["bytes"]) == (6, sum(images.values()))
    assert plan["carried_files"] == len(sizes) - 6
    assert plan["carried_bytes"] == sum(sizes.values()) - sum(images.values())
    assert plan["measured"]["statuses"] == {"failed": 1, "protected": 5}
    assert plan["output_bytes"] > 0
    assert plan["seconds"] > 0
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "magic"], "method 'magic' is unknown; choose one of"),
        (["--generator", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
        (["--method", "uniform", "--generator", "small"], "--method uniform uses no generator; leave out --generator"),
        (["--method", "uniform", "--epsilon", "-1"], "epsilon is -1.0"),
        (["--method", "uniform", "--targets", "cat"], "'cat' is no class"),
        (["--method", "uniform", "--prompt", "smell"], "prompt is 'smell'; choose one of"),
        (["--method", "uniform", "--layout", "voc2099"], "layout 'voc2099' is unknown"),
        (["--out", "elsewhere"], "name the folder of the protected copy, as TARGET or with --out, and once"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(source: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = invoke("protect", source, tmp_path / "copy", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "copy").exists()


def test_target_may_be_named_with_out(source: Path, tmp_path: Path) -> None:
    photos, masks, copy = source / "images", source / "masks", tmp_path / "safe"
    assert invoke("protect", photos, "--masks", masks, "--out", copy).exit_code == 0
    assert invoke("verify", copy, "--against", photos, "--masks", masks).exit_code == 0
    without = invoke("protect", photos, "--masks", masks)
    assert without.exit_code == 2
    assert "as TARGET or with --out" in without.stderr


@pytest.mark.parametrize(
    ("arguments", "method"),
    [
        ([], "grating"),
        (["--prompt", "box"], "grating"),
        (["--generator", "small"], "unseg"),
        (["--prompt", "whole"], "unseg"),
        (["--prompt", "whole", "--method", "grating"], "grating"),
    ],
)
def test_method_is_unseg_where_a_generator_is_named_or_nothing_is(
    source: Path, tmp_path: Path, arguments: list[str], method: str
) -> None:
    """Stripes that mark objects have nothing to mark where the whole image is the region."""
    invoke("protect", source, tmp_path / "copy", *arguments)
    assert json.loads((tmp_path / "copy" / "manifest.json").read_text())["settings"]["method"] == method
