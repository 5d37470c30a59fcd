"""What an evaluation trains on: a copy that is checked against its source, whole or mixed with the original."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_pairs
from PIL import Image
from tiny_layouts import make_nwpu, make_voc

from unseg_core.data.dataset import open_dataset, open_tested
from unseg_core.data.layouts import open_layout
from unseg_core.data.layouts.layout import Layout
from unseg_core.errors import DataError, ManifestError, ParameterError
from unseg_core.evaluate.dataset import LabelledImages
from unseg_core.evaluate.segmented import SegmentedImages
from unseg_core.evaluate.splits import open_splits, protected_ids, training_samples
from unseg_core.params import DatasetParams, EvaluateParams, ProtectParams
from unseg_core.protect.engine import protect_dataset
from unseg_core.protect.manifest import Settings
from unseg_core.protect.methods.uniform import UniformNoise

RECIPE = EvaluateParams(size=32)
CPU = torch.device("cpu")


def folder(root: Path, classes: tuple[str, ...] = ("disc",)) -> Layout:
    return open_layout("folder", str(root), classes=classes)


def copy_of(source: Path, target: Path) -> Layout:
    layout = folder(source)
    dataset = DatasetParams(classes=layout.classes)
    settings = Settings.of(dataset, ProtectParams(), method="uniform", generator_sha256=None, precision="fp32")
    protect_dataset(layout, UniformNoise(), settings, str(target))
    return folder(target)


@pytest.fixture
def pair(tmp_path: Path, rng: np.random.Generator) -> tuple[Layout, Layout]:
    source = write_pairs(tmp_path / "source", 20, rng)
    return folder(source), copy_of(source, tmp_path / "copy")


def test_images_of_both_splits_are_refused(tmp_path: Path) -> None:
    make_voc(tmp_path / "voc")
    both = open_layout("voc", str(tmp_path / "voc"))
    some = open_layout("voc", str(tmp_path / "voc"), split="train")
    with pytest.raises(DataError, match="are in the split to train on and in the one to test on"):
        open_splits(both, None, RECIPE, test_share=0, tested=some)


def test_shares_are_nested() -> None:
    ids = [f"image {number}" for number in range(50)]
    sets = [protected_ids(ids, share) for share in (0.0, 0.1, 0.5, 0.9, 1.0)]
    assert [len(one) for one in sets] == [0, 5, 25, 45, 50]
    assert all(small < large for small, large in itertools.pairwise(sets))
    assert protected_ids(ids[::-1], 0.5) == sets[2]


@pytest.mark.parametrize("task", ["semantic", "interactive"])
def test_a_share_comes_from_the_copy(task: str, pair: tuple[Layout, Layout]) -> None:
    original, copy = pair
    recipe = replace(RECIPE, task="semantic") if task == "semantic" else replace(RECIPE, task="interactive")
    versions = {
        share: open_splits(original, copy, recipe, test_share=0.25, protected_share=share)[0] for share in (0, 0.4, 1)
    }
    clean, test = open_splits(original, None, recipe, test_share=0.25)
    assert all(one.ids == clean.ids for one in versions.values())
    assert not set(clean.ids) & set(test.ids)
    rows = range(len(clean.ids))
    pixels = {share: one.batch(rows, CPU).images for share, one in versions.items()}
    assert torch.equal(pixels[0], clean.batch(rows, CPU).images)
    changed = (pixels[0.4] != pixels[0]).flatten(1).any(1)
    chosen = protected_ids(clean.ids, 0.4)
    assert changed.tolist() == [one in chosen for one in clean.ids]
    assert torch.equal(pixels[0.4][changed], pixels[1][changed])
    assert (pixels[1] != pixels[0]).flatten(1).any(1).all()
    assert isinstance(clean, LabelledImages if task == "semantic" else SegmentedImages)


def test_images_that_the_copy_does_not_hold_are_left_out(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 12, rng)
    ids = [sample.id for _, sample in training_samples(folder(source), None, 0.25, 1.0)]
    (source / "images" / f"{ids[0]}.png").write_bytes(b"x")
    placed = training_samples(folder(source), copy_of(source, tmp_path / "copy"), 0.25, 1.0)
    assert [sample.id for _, sample in placed] == ids[1:]


def test_another_split_is_tested_on_whole(tmp_path: Path) -> None:
    make_nwpu(tmp_path / "source")
    given = DatasetParams(layout="nwpu", split="train", test_split="val")
    original, dataset = open_dataset(given, str(tmp_path / "source"))
    settings = Settings.of(dataset, ProtectParams(), method="uniform", generator_sha256=None, precision="fp32")
    protect_dataset(original, UniformNoise(), settings, str(tmp_path / "copy"))
    copy, _ = open_dataset(given, str(tmp_path / "copy"))
    tested = open_tested(given, str(tmp_path / "source"))
    assert tested is not None
    train, test = open_splits(original, copy, RECIPE, test_share=0, tested=tested)
    assert train.ids == tuple(sample.id for sample in original.samples())
    assert test.ids == tuple(sample.id for sample in tested.samples())
    assert not set(train.ids) & set(test.ids)
    assert open_tested(replace(given, test_split=""), str(tmp_path / "source")) is None
    clean = open_splits(original, None, RECIPE, test_share=0, tested=tested)[0]
    assert not torch.equal(train.batch([0], CPU).images, clean.batch([0], CPU).images), "the copy is trained on"


@pytest.mark.parametrize(("split", "message"), [("val", "test on another one"), ("", "needs datasets.*.split")])
def test_the_split_that_is_tested_on_is_another_one(split: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        DatasetParams(layout="nwpu", split=split, test_split="val")


def test_another_copy_is_refused(pair: tuple[Layout, Layout], tmp_path: Path, rng: np.random.Generator) -> None:
    original, copy = pair
    root = Path(original.root)

    def refused(source: Layout, target: Layout, message: str) -> None:
        with pytest.raises(DataError, match=message):
            open_splits(source, target, RECIPE, test_share=0.25)

    refused(folder(write_pairs(tmp_path / "more", 22, rng)), copy, "its manifest lacks photo 20, photo 21")
    refused(folder(write_pairs(tmp_path / "fewer", 19, rng)), copy, "lists photo 19, which the original has not")
    refused(folder(root, ("polyp",)), copy, "has the classes disc but .* has polyp")
    refused(original, folder(Path(copy.root), ("polyp",)), "has the classes polyp but .* has disc")
    image = root / "images" / f"{training_samples(original, copy, 0.25, 1.0)[0][1].id}.png"
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    refused(original, copy, f"made from another file than .*{image.name}")
    with pytest.raises(ManifestError, match="no complete manifest"):
        open_splits(original, original, RECIPE, test_share=0.25)
    summary = Path(copy.root) / "manifest.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "manifest_sha256": "0"}))
    with pytest.raises(ManifestError, match="was changed after it was written"):
        open_splits(original, copy, RECIPE, test_share=0.25)
