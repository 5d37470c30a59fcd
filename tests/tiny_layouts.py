"""A tiny data set in every layout: difficult names, equal stems in two splits, an image without objects, crowds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 24, 32


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """What was written."""

    masks: dict[str, np.ndarray]
    """Sample id -> what `--targets all` protects, bool HxW."""
    split: str | None
    """A split, where the layout has them."""
    in_split: frozenset[str]
    image: str
    """Path of one image that is a sample."""


def photo(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(40, 216, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(path)


def rectangles(*boxes: tuple[int, int, int, int, int]) -> np.ndarray:
    """int32 HxW map from (value, top, left, bottom, right), later ones on top."""
    values = np.zeros((HEIGHT, WIDTH), dtype=np.int32)
    for value, top, left, bottom, right in boxes:
        values[top:bottom, left:right] = value
    return values


def save(path: Path, values: np.ndarray, *, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette([(37 * i) % 256 for i in range(768)])
    image.save(path)


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def make_voc(root: Path) -> Tiny:
    base = root / "VOCdevkit" / "VOC2012"
    labels = {
        "2007_000001": rectangles((15, 2, 2, 12, 12), (255, 2, 12, 12, 14), (20, 14, 14, 20, 30)),
        "two words \u00e9": rectangles((1, 0, 0, 24, 5)),
        "2008_empty": rectangles(),
    }
    for seed, (name, values) in enumerate(labels.items()):
        photo(base / "JPEGImages" / f"{name}.jpg", seed)
        save(base / "SegmentationClassAug" / f"{name}.png", values.astype(np.uint8), palette=True)
    photo(base / "JPEGImages" / "2009_no_label.jpg", 9)
    lists = base / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000001\r\ntwo words \u00e9\r\n\r\n", encoding="utf-8")
    return Tiny(
        masks={name: (values > 0) & (values < 255) for name, values in labels.items()},
        split="train",
        in_split=frozenset({"2007_000001", "two words \u00e9"}),
        image="VOCdevkit/VOC2012/JPEGImages/2007_000001.jpg",
    )


def make_ade20k(root: Path) -> Tiny:
    labels = {
        "training/ADE_1": rectangles((1, 0, 0, 24, 20), (150, 4, 4, 9, 9)),
        "training/ADE_2": rectangles(),
        "validation/ADE_1": rectangles((13, 10, 10, 20, 20)),
    }
    for seed, (name, values) in enumerate(labels.items()):
        photo(root / "ADEChallengeData2016" / "images" / f"{name}.jpg", seed)
        save(root / "ADEChallengeData2016" / "annotations" / f"{name}.png", values.astype(np.uint8))
    photo(root / "ADEChallengeData2016" / "images" / "testing" / "ADE_3.jpg", 9)
    return Tiny(
        masks={name: values > 0 for name, values in labels.items()},
        split="validation",
        in_split=frozenset({"validation/ADE_1"}),
        image="ADEChallengeData2016/images/training/ADE_1.jpg",
    )


def make_cityscapes(root: Path) -> Tiny:
    # Road, two cars, a group of persons, a caravan (not evaluated), nothing.
    first = rectangles((7, 12, 0, 24, 32), (26_000, 2, 2, 8, 8), (26_001, 2, 10, 8, 16), (24, 2, 20, 8, 24))
    first[2:6, 26:30] = 29_000
    ids = {"train/aachen/aachen_000000_000019": first, "train/ulm/ulm_000001_000019": rectangles((4, 0, 0, 5, 5))}
    ids["val/bonn/bonn_000000_000019"] = rectangles((33_000, 5, 5, 15, 15))
    for seed, (name, values) in enumerate(ids.items()):
        photo(root / "leftImg8bit" / f"{name}_leftImg8bit.png", seed)
        save(root / "gtFine" / f"{name}_gtFine_instanceIds.png", values.astype(np.uint16))
        label = np.where(values >= 1000, values // 1000, values).astype(np.uint8)
        save(root / "gtFine" / f"{name}_gtFine_labelIds.png", label)
        write_json(root / "gtFine" / f"{name}_gtFine_polygons.json", {"objects": []})
    photo(root / "leftImg8bit" / "train_extra" / "bochum" / "bochum_000000_000019_leftImg8bit.png", 9)
    kept = {7, 26_000, 26_001, 33_000}
    return Tiny(
        masks={name: np.isin(values, list(kept)) for name, values in ids.items()},
        split="val",
        in_split=frozenset({"val/bonn/bonn_000000_000019"}),
        image="leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png",
    )


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    """RLE as a list of counts, by hand."""
    flat = mask.T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": counts if flat[0] == 0 else [0, *counts]}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def polygon(top: int, left: int, bottom: int, right: int) -> list[float]:
    """Covers exactly the pixels of the half-open rectangle."""
    return [float(v) for v in (left, top, right, top, right, bottom, left, bottom)]


def coco_json(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> dict[str, Any]:
    categories = [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car, van"}, {"id": 18, "name": "dog"}]
    return {"info": {"year": 2017}, "images": images, "annotations": annotations, "categories": categories}


def entry(number: int, name: str) -> dict[str, Any]:
    return {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH, "license": 3}


def instance(number: int, image: int, category: int, segmentation: object, *, crowd: int = 0) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": crowd,
        "bbox": [0, 0, 1, 1],
        "area": 1.0,
    }


def _instances(root: Path, images: str, second: str, files: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Two JSON files: one object in each form, a crowd, an image without annotations, equal stems if possible."""
    one, two = rectangles((1, 2, 2, 10, 9)) > 0, rectangles((1, 12, 4, 20, 30)) > 0
    crowd = rectangles((1, 0, 20, 8, 32)) > 0
    names = ["a.jpg", "two words \u00e9.jpg"]
    for seed, name in enumerate(names):
        photo(root / images / name, seed)
    photo(root / second, 5)
    annotations = [
        instance(1, 7, 3, [polygon(2, 2, 10, 9)]),
        instance(2, 7, 90, compressed(two)),
        instance(3, 7, 90, uncompressed(crowd), crowd=1),
    ]
    write_json(root / files[0], coco_json([entry(7, names[0]), entry(900, names[1])], annotations))
    last = instance(1, 7, 18, [polygon(2, 2, 5, 9), polygon(5, 2, 10, 9)])
    write_json(root / files[1], coco_json([entry(7, Path(second).name)], [last]))
    return one | two, one


def make_coco(root: Path) -> Tiny:
    files = ("annotations/instances_train2017.json", "annotations/instances_val2017.json")
    both, one = _instances(root, "train2017", "val2017/a.jpg", files)
    write_json(root / "annotations" / "captions_val2017.json", {"images": [], "annotations": []})
    photo(root / "test2017" / "a.jpg", 8)
    masks = {"train2017/a": both, "train2017/two words \u00e9": np.zeros_like(both), "val2017/a": one}
    return Tiny(masks=masks, split="val2017", in_split=frozenset({"val2017/a"}), image="train2017/a.jpg")


def _rsprompter(root: Path, name: str) -> Tiny:
    files = (f"annotations/{name}_instances_train.json", f"annotations/{name}_instances_val.json")
    both, one = _instances(root, "imgs", "imgs/b.jpg", files)
    masks = {"imgs/a": both, "imgs/two words \u00e9": np.zeros_like(both), "imgs/b": one}
    return Tiny(masks=masks, split="val", in_split=frozenset({"imgs/b"}), image="imgs/a.jpg")


def make_nwpu(root: Path) -> Tiny:
    return _rsprompter(root, "NWPU")


def make_ssdd(root: Path) -> Tiny:
    return _rsprompter(root, "SSDD")


def make_panoptic(root: Path) -> Tiny:
    sky, dog, crowd = 5, 256 * 200 + 7, 65_536 * 200 + 1
    ids = {
        "train2017/a": rectangles((sky, 0, 0, 10, 32), (dog, 5, 5, 15, 15), (crowd, 16, 0, 24, 8)),
        "train2017/empty \u00e9": rectangles(),
        "val2017/a": rectangles((dog, 0, 0, 24, 32)),
    }
    category = {sky: 187, dog: 18, crowd: 18}
    categories = [
        {"id": 18, "name": "dog", "isthing": 1, "supercategory": "animal"},
        {"id": 187, "name": "sky-other-merged", "isthing": 0, "supercategory": "sky"},
    ]
    for split in ("train2017", "val2017"):
        images, annotations = [], []
        for number, (name, values) in enumerate(ids.items(), start=10):
            if not name.startswith(split):
                continue
            stem = name.split("/")[1]
            photo(root / f"{name}.jpg", number)
            colours = np.stack([values % 256, values // 256 % 256, values // 65_536], axis=-1).astype(np.uint8)
            save(root / "annotations" / f"panoptic_{split}" / f"{stem}.png", colours)
            infos = [
                {"id": one, "category_id": category[one], "iscrowd": int(one == crowd), "area": 1}
                for one in np.unique(values).tolist()
                if one
            ]
            images.append(entry(number, f"{stem}.jpg"))
            annotations.append({"image_id": number, "file_name": f"{stem}.png", "segments_info": infos})
        whole = {"images": images, "annotations": annotations, "categories": categories}
        write_json(root / "annotations" / f"panoptic_{split}.json", whole)
    return Tiny(
        masks={name: (values > 0) & (values != crowd) for name, values in ids.items()},
        split="val2017",
        in_split=frozenset({"val2017/a"}),
        image="train2017/a.jpg",
    )


def _binary(root: Path, images: str, masks: str, mask_of: Callable[[str], str], kind: str, mask_kind: str) -> Tiny:
    """Pairs, one of them nested in a folder, one of them empty."""
    made = {"a": rectangles((255, 3, 3, 20, 12)), "train/two words \u00e9": rectangles((255, 8, 8, 16, 24))}
    made["train/empty"] = rectangles()
    for seed, (name, values) in enumerate(made.items()):
        photo(root / images / f"{name}{kind}", seed)
        save(root / masks / f"{mask_of(name)}{mask_kind}", values.astype(np.uint8))
    return Tiny(
        masks={name: values > 0 for name, values in made.items()},
        split="train",
        in_split=frozenset({"train/two words \u00e9", "train/empty"}),
        image=f"{images}/a{kind}",
    )


def make_folder(root: Path) -> Tiny:
    return _binary(root, "images", "masks", str, ".png", ".png")


def make_hqseg(root: Path) -> Tiny:
    return _binary(root, "im", "gt", str, ".jpg", ".png")


def make_kvasir(root: Path) -> Tiny:
    write_json(root / "kavsir_bboxes.json", {})
    return _binary(root, "images", "masks", str, ".jpg", ".png")


def make_lung(root: Path) -> Tiny:
    tiny = _binary(root, "CXR_png", "masks", lambda name: f"{name}_mask", ".png", ".png")
    photo(root / "CXR_png" / "CHNCXR_0001_0.png", 8)
    save(root / "masks" / "CHNCXR_0001_0.png", rectangles((255, 0, 0, 4, 4)).astype(np.uint8))
    masks = {"CHNCXR_0001_0": rectangles((1, 0, 0, 4, 4)) > 0, **tiny.masks}
    return Tiny(masks=masks, split=tiny.split, in_split=tiny.in_split, image=tiny.image)


def make_whu(root: Path) -> Tiny:
    made = {"train/0": rectangles((1, 3, 3, 20, 12)), "train/1": rectangles(), "val/0": rectangles((1, 8, 8, 16, 24))}
    for seed, (name, values) in enumerate(made.items()):
        split, stem = name.split("/")
        photo(root / "imgs" / split / "image" / f"{stem}.tif", seed)
        save(root / "imgs" / split / "label" / f"{stem}.tif", values > 0)
    return Tiny(
        masks={name: values > 0 for name, values in made.items()},
        split="val",
        in_split=frozenset({"val/0"}),
        image="imgs/train/image/0.tif",
    )


MAKERS: dict[str, Callable[[Path], Tiny]] = {
    "voc": make_voc,
    "ade20k": make_ade20k,
    "cityscapes": make_cityscapes,
    "nwpu": make_nwpu,
    "ssdd": make_ssdd,
    "whu": make_whu,
    "coco": make_coco,
    "coco-panoptic": make_panoptic,
    "hqseg": make_hqseg,
    "lung": make_lung,
    "kvasir": make_kvasir,
    "folder": make_folder,
}
