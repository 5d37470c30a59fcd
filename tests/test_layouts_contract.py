"""What every layout of the registry must do, on a tiny data set made in it."""

from __future__ import annotations

import pickle
import shutil
import typing
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image
from tiny_layouts import HEIGHT, MAKERS, WIDTH, Tiny

from unseg_core import storage
from unseg_core.data.layouts import LAYOUTS, Layout, detect_layout, open_layout
from unseg_core.data.sample import annotation_for, label_map, select_target, union_mask
from unseg_core.errors import DataError, ParameterError
from unseg_core.images import decode_image
from unseg_core.params import DatasetParams, LayoutName, ProtectParams
from unseg_core.protect.engine import protect_dataset
from unseg_core.protect.manifest import OWN_FILES, Settings, read_manifest
from unseg_core.protect.methods.uniform import UniformNoise
from unseg_core.protect.other_pictures import OtherPictures
from unseg_core.protect.verify import verify_copy

UNANNOTATED = {"ade20k": {"ADE_3"}, "coco": {"a"}, "voc": {"2009_no_label"}}
"""Photographs that no annotation is of."""
BLANK = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_parameters_know_every_layout() -> None:
    assert set(typing.get_args(LayoutName)) == set(LAYOUTS) == set(MAKERS)


@pytest.fixture(params=list(LAYOUTS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data set"


@pytest.fixture
def tiny(name: str, root: Path) -> Tiny:
    return MAKERS[name](root)


def read(layout: Layout) -> dict[str, np.ndarray]:
    return {sample.id: union_mask(annotation_for(sample, BLANK)) for sample in layout.samples()}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for one, mask in expected.items():
        assert np.array_equal(found[one], mask), one


def files_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class TestEveryLayout:
    def test_is_detected_and_reads_its_masks(self, name: str, root: Path, tiny: Tiny) -> None:
        assert detect_layout(str(root)) == name
        layout = open_layout("auto", str(root))
        assert layout.name == name
        assert layout.root == str(root)
        assert len(layout.classes) == len(layout.class_ids) == len(set(layout.classes))
        assert_same(read(layout), tiny.masks)
        assert layout.orphans() == []

    def test_names_images_by_posix_paths_in_a_stable_order(self, name: str, root: Path, tiny: Tiny) -> None:
        samples = list(open_layout(name, str(root)).samples())
        for sample in samples:
            assert (root / sample.image).is_file()
            assert all((root / file).is_file() for file in sample.files)
        assert len({sample.image for sample in samples}) == len(samples) == len(tiny.masks)
        assert [s.id for s in open_layout(name, str(root)).samples()] == [s.id for s in samples]

    def test_segments_are_of_known_classes(self, name: str, root: Path, tiny: Tiny) -> None:
        layout = open_layout(name, str(root))
        for sample in layout.samples():
            annotation = sample.read_annotation()
            assert (annotation.height, annotation.width) == (HEIGHT, WIDTH)
            labels = label_map(annotation)
            assert set(np.unique(labels)) <= {0, 255, *range(1, len(layout.classes) + 1)}
            for category, class_name in enumerate(layout.classes, start=1):
                target = select_target(annotation, class_name, layout.classes)
                assert {s.category for s in target.segments} <= {category}

    def test_reads_a_split_alone(self, name: str, root: Path, tiny: Tiny) -> None:
        layout = open_layout(name, str(root), split=tiny.split)
        assert_same(read(layout), {one: tiny.masks[one] for one in tiny.in_split})
        with pytest.raises(ParameterError, match="has no split 'nonsense'; it has"):
            open_layout(name, str(root), split="nonsense")

    def test_reads_annotations_when_asked_for(self, name: str, root: Path, tiny: Tiny) -> None:
        layout = open_layout(name, str(root))
        samples = layout.samples()
        assert isinstance(samples, Iterator)
        first = next(samples)
        for file in first.files:
            (root / file).write_bytes(b"damaged")
        assert sum(1 for _ in samples) == len(tiny.masks) - 1
        if first.files:
            with pytest.raises(DataError, match=r"cannot be decoded|has no"):
                annotation_for(first, BLANK)

    def test_only_pictures_that_it_does_not_protect_are_told(self, name: str, root: Path, tiny: Tiny) -> None:
        every = sorted(files_of(root))
        for split in (None, tiny.split):
            layout = open_layout(name, str(root), split=split)
            images, others = {sample.image for sample in layout.samples()}, OtherPictures.of(layout)
            assert list(others.seeing(path for path in every if path not in images))
            told = {Path(path).stem for path in others.named}
            assert others.count == len(others.named)
            assert told <= UNANNOTATED.get(name, set()) | {Path(one).stem for one in tiny.masks if split}
            assert split or told == UNANNOTATED.get(name, set())

    def test_can_be_sent_to_another_process(self, name: str, root: Path, tiny: Tiny) -> None:
        assert_same(read(pickle.loads(pickle.dumps(open_layout(name, str(root))))), tiny.masks)

    def test_reads_a_url_as_a_folder(self, name: str, root: Path, tiny: Tiny) -> None:
        memory = fsspec.filesystem("memory")
        url = f"memory://layouts/{name}"
        memory.put(str(root), url, recursive=True)
        try:
            layout = open_layout("auto", url)
            assert layout.name == name or name == "kvasir"
            assert_same(read(layout), tiny.masks)
            local = list(open_layout(name, str(root)).samples())
            assert [s.image for s in layout.samples()] == [s.image for s in local]
            assert storage.read_file(storage.join(url, local[0].image)) == (root / local[0].image).read_bytes()
        finally:
            memory.rm(url, recursive=True)

    def test_names_annotations_without_an_image(self, name: str, root: Path, tiny: Tiny) -> None:
        (root / tiny.image).unlink()
        orphans = open_layout(name, str(root)).orphans()
        assert len(orphans) == 1
        stem = Path(tiny.image).stem.removesuffix("_leftImg8bit")
        assert stem in orphans[0]

    def test_names_an_image_of_another_size(self, name: str, root: Path, tiny: Tiny) -> None:
        sample = next(s for s in open_layout(name, str(root)).samples() if s.image == tiny.image)
        with pytest.raises(DataError, match=r"is 32x24 but the image 32x20") as caught:
            annotation_for(sample, BLANK[:20])
        assert tiny.image in str(caught.value)

    def test_refuses_a_folder_that_it_is_not(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="is not a folder"):
            open_layout(name, str(tmp_path / "nowhere"))
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=str(tmp_path / "empty")):
            open_layout(name, str(tmp_path / "empty"))

    def test_refuses_options_that_it_has_not(self, name: str, root: Path, tiny: Tiny) -> None:
        options = LAYOUTS[name].options
        if "masks" not in options:
            with pytest.raises(ParameterError, match=f"layout {name} has no option masks"):
                open_layout(name, str(root), masks=str(root))
        if "annotations" not in options:
            with pytest.raises(ParameterError, match=f"layout {name} has no option annotations"):
                open_layout(name, str(root), annotations="a.json")
        if "classes" not in options:
            with pytest.raises(ParameterError, match=f"layout {name} has its own"):
                open_layout(name, str(root), classes=("other",))

    def test_its_protected_copy_has_the_same_layout(self, name: str, root: Path, tiny: Tiny, tmp_path: Path) -> None:
        layout = open_layout(name, str(root))
        dataset = DatasetParams(layout=typing.cast(LayoutName, name), classes=layout.classes)
        settings = Settings.of(dataset, ProtectParams(), method="uniform", generator_sha256=None, precision="fp32")
        copy = tmp_path / "copy"
        summary = protect_dataset(layout, UniformNoise(), settings, str(copy), workers=1)
        empty = sum(not mask.any() for mask in tiny.masks.values())
        assert (summary["totals"]["protected"], summary["totals"]["no_target"]) == (len(tiny.masks) - empty, empty)
        assert verify_copy(str(copy), str(root), layout=layout).differences == ()
        original, written = files_of(root), files_of(copy)
        assert set(written) - set(OWN_FILES) == set(original)
        changed = {line.image for line in read_manifest(str(copy))[1] if line.status == "protected"}
        assert {path for path, data in original.items() if written[path] != data} == changed
        assert detect_layout(str(copy)) == name
        assert_same(read(open_layout(name, str(copy))), tiny.masks)
        for path in changed:
            with Image.open(root / path) as before, Image.open(copy / path) as after:
                assert (after.format, after.size, after.mode) == (before.format, before.size, before.mode)

    def test_copy_as_png_is_read_too(self, name: str, root: Path, tiny: Tiny, tmp_path: Path) -> None:
        if name == "cityscapes":
            pytest.skip("its images are PNG")
        copy = tmp_path / "copy"
        shutil.copytree(root, copy)
        for sample in open_layout(name, str(root)).samples():
            picture = decode_image((root / sample.image).read_bytes(), sample.image)
            (copy / sample.image).unlink()
            Image.fromarray(picture.pixels).save((copy / sample.image).with_suffix(".png"))
        layout = open_layout(name, str(copy))
        assert_same(read(layout), tiny.masks)
        assert layout.orphans() == []
