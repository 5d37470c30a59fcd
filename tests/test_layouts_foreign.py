"""Real samples of every layout, and what other readers make of them: the same labels (copies: test_layouts_copies)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from torchvision.datasets import Cityscapes, VOCSegmentation

from unseg_core.data.layouts import Layout, detect_layout, open_layout
from unseg_core.data.layouts.ade20k import THINGS
from unseg_core.data.layouts.cityscapes_classes import CLASSES as CITYSCAPES_CLASSES
from unseg_core.data.sample import Annotation, Sample, annotation_for, label_map, mask_of, select_target, union_mask

SETS = [
    ("voc", "voc", 5, 20),
    ("ade20k", "ade20k", 3, 150),
    ("cityscapes", "cityscapes", 2, 19),
    ("coco", "coco", 128, 80),
    ("nwpu", "nwpu", 210, 10),
    ("ssdd", "ssdd", 2, 1),
    ("whu", "whu", 6, 1),
    ("kvasir", "kvasir", 1000, 1),
    ("lung", "lung", 420, 1),
    ("objects/icoseg", "hqseg", 513, 1),
    ("objects/cats", "hqseg", 400, 1),
]


def annotation_of(root: Path, sample: Sample) -> Annotation:
    with Image.open(root / sample.image) as image:
        return annotation_for(sample, np.asarray(image))


@pytest.mark.parametrize(("folder", "name", "count", "classes"), SETS)
def test_real_data_set(real_data: Path, folder: str, name: str, count: int, classes: int) -> None:
    root = real_data / folder
    assert detect_layout(str(root)) == name
    layout = open_layout("auto", str(root))
    samples = list(layout.samples())
    assert (len(samples), len({s.id for s in samples}), len(layout.classes)) == (count, count, classes)
    assert layout.orphans() == []
    for sample in samples[:: max(1, count // 5)]:
        share = union_mask(annotation_of(root, sample)).mean()
        assert 0.0001 < share < 0.9999 or name in ("ade20k", "cityscapes", "whu")
        assert all((root / file).is_file() for file in sample.files)


def same_as_pycocotools(layout: Layout, file: Path, samples: dict[str, Sample], root: Path) -> int:
    """Compare every annotation of a JSON file; returns how many."""
    reader, count = COCO(str(file)), 0
    names = [reader.cats[number]["name"] for number in sorted(reader.cats)]
    assert list(layout.classes) == names
    assert list(layout.class_ids) == sorted(reader.cats)
    for number, image in reader.imgs.items():
        annotations = [a for a in reader.imgToAnns[number] if reader.annToMask(a).any()]
        segments = samples[image["file_name"]].read_annotation().segments
        assert len(segments) == len(annotations)
        for segment, annotation in zip(segments, annotations, strict=True):
            assert np.array_equal(mask_of(segment), reader.annToMask(annotation).astype(bool))
            assert layout.class_ids[segment.category - 1] == annotation["category_id"]
            assert segment.is_crowd == bool(annotation["iscrowd"])
        count += len(annotations)
    return count


@pytest.mark.parametrize(
    ("folder", "files", "count"),
    [
        ("coco", ["instances_train2017.json"], 929),
        ("nwpu", ["NWPU_instances_val.json"], 292),
        ("ssdd", ["SSDD_instances_train.json", "SSDD_instances_val.json"], 2),
    ],
)
def test_instances_are_those_of_pycocotools(real_data: Path, folder: str, files: list[str], count: int) -> None:
    root = real_data / folder
    layout = open_layout(folder, str(root))
    samples = {Path(sample.image).name: sample for sample in layout.samples()}
    assert sum(same_as_pycocotools(layout, root / "annotations" / file, samples, root) for file in files) == count


def test_panoptic_segments_are_those_of_the_json(real_data: Path) -> None:
    """Areas and boxes in the JSON file were computed by COCO's own tools from the PNG."""
    root = real_data / "coco"
    layout = open_layout("coco-panoptic", str(root))
    whole = json.loads((root / "annotations" / "panoptic_val2017.json").read_text())
    things = {category["id"]: bool(category["isthing"]) for category in whole["categories"]}
    entries = {Path(a["file_name"]).stem: a["segments_info"] for a in whole["annotations"]}
    samples = list(layout.samples())
    assert len(samples) == 2
    assert len(layout.classes) == 133
    for sample in samples:
        annotation = annotation_of(root, sample)
        infos, segments = entries[Path(sample.image).stem], [s for s in annotation.segments if s.category != 255]
        assert len(infos) == len(segments) > 5
        for info, segment in zip(infos, segments, strict=True):
            mask = mask_of(segment)
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
            assert (int(mask.sum()), box) == (info["area"], info["bbox"])
            assert layout.class_ids[segment.category - 1] == info["category_id"]
            assert (segment.is_thing, segment.is_crowd) == (things[info["category_id"]], bool(info["iscrowd"]))
        colours = np.asarray(Image.open(root / sample.files[0])).astype(int)
        kept = [info["id"] for info in infos if not info["iscrowd"]]
        assert np.array_equal(union_mask(annotation), np.isin(colours @ [1, 256, 65_536], kept))


def voc_tree(real_data: Path, target: Path) -> Path:
    """The sample with the names that torchvision's reader looks for."""
    shutil.copytree(real_data / "voc", target, copy_function=shutil.copyfile)
    base = target / "VOCdevkit" / "VOC2012"
    shutil.copytree(base / "SegmentationClassAug", base / "SegmentationClass", copy_function=shutil.copyfile)
    lists = base / "ImageSets" / "Segmentation"
    shutil.copyfile(lists / "train_aug.txt", lists / "train.txt")
    return target


def test_voc_labels_are_those_of_torchvision(real_data: Path, tmp_path: Path) -> None:
    root = voc_tree(real_data, tmp_path / "voc")
    reader = VOCSegmentation(str(root), year="2012", image_set="train")
    labels = {Path(path).stem: np.asarray(label) for path, (_, label) in zip(reader.images, reader, strict=True)}
    for base in (root, root / "VOCdevkit", root / "VOCdevkit" / "VOC2012"):
        samples = list(open_layout("auto", str(base), split="train_aug").samples())
        assert [s.id for s in samples] == sorted(labels)
        for sample in samples:
            annotation = annotation_of(base, sample)
            assert np.array_equal(label_map(annotation), labels[sample.id])
            assert np.array_equal(union_mask(annotation), (labels[sample.id] > 0) & (labels[sample.id] < 255))


def test_cityscapes_labels_are_those_of_torchvision(real_data: Path) -> None:
    root = real_data / "cityscapes"
    reader = Cityscapes(str(root), split="train", mode="fine", target_type=["semantic", "instance"])
    evaluated = {one.id: one for one in Cityscapes.classes if not one.ignore_in_eval}
    assert {number: one.name for number, one in evaluated.items()} == CITYSCAPES_CLASSES
    samples = {Path(sample.image).name: sample for sample in open_layout("cityscapes", str(root)).samples()}
    for path, (_, (semantic, instance)) in zip(reader.images, reader, strict=True):
        annotation = annotation_of(root, samples[Path(path).name])
        train_ids = np.full(256, 255)
        for number, one in evaluated.items():
            train_ids[number] = one.train_id + 1
        ids = np.asarray(instance)
        groups = np.isin(ids, [number for number, one in evaluated.items() if one.has_instances])
        expected = np.where(groups, 255, train_ids[np.asarray(semantic)])
        assert np.array_equal(label_map(annotation), expected)
        objects = {int(number) for number in np.unique(ids) if number >= 1000 and number // 1000 in evaluated}
        things = select_target(annotation, "things", ())
        assert len(things.segments) == len(objects)
        assert np.array_equal(things.mask, np.isin(ids, list(objects)))


def test_ade20k_labels_are_the_png(real_data: Path) -> None:
    root = real_data / "ade20k"
    assert len(THINGS) == 100
    for sample in open_layout("ade20k", str(root)).samples():
        annotation = annotation_of(root, sample)
        values = np.asarray(Image.open(root / sample.files[0]))
        assert np.array_equal(label_map(annotation), np.where(values == 0, 255, values))
        assert np.array_equal(union_mask(annotation), values > 0)
        assert np.array_equal(select_target(annotation, "things", ()).mask, np.isin(values, list(THINGS)))


@pytest.mark.parametrize("folder", ["whu", "kvasir", "lung"])
def test_binary_masks_are_those_of_the_files(real_data: Path, folder: str) -> None:
    root = real_data / folder
    for sample in list(open_layout(folder, str(root)).samples())[:8]:
        values = np.asarray(Image.open(root / sample.files[0]).convert("L"))
        assert np.array_equal(union_mask(annotation_of(root, sample)), values > 127)
