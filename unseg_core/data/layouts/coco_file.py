"""A COCO JSON file, read once and kept small: while parsing, coordinates are packed and what is not needed dropped."""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from unseg_core import storage
from unseg_core.errors import DataError


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An entry of `images`; the values are as the file has them, checked where they are used."""

    id: Any
    file_name: Any
    height: Any
    width: Any


@dataclass(frozen=True, slots=True)
class Instance:
    """An entry of `annotations` of instances."""

    id: Any
    image_id: Any
    category_id: Any
    is_crowd: bool
    segmentation: Any
    """A tuple of packed polygons, an RLE, or a Box."""


@dataclass(frozen=True, slots=True)
class Box:
    """What an instance without a mask has instead."""

    xywh: Any


@dataclass(frozen=True, slots=True)
class PanopticSegment:
    """An entry of `segments_info`."""

    id: Any
    category_id: Any
    is_crowd: bool


@dataclass(frozen=True, slots=True)
class PanopticEntry:
    """An entry of `annotations` of panoptic labels."""

    image_id: Any
    file_name: Any
    segments: Any


@dataclass(frozen=True, kw_only=True)
class Category:
    id: int
    name: str
    is_thing: bool


@dataclass(frozen=True, kw_only=True)
class CocoFile:
    path: str
    """Below the data set's root, or a path or URL elsewhere."""
    images: tuple[ImageEntry, ...]
    instances: Mapping[Any, Sequence[Instance]]
    """By image id."""
    panoptic: Mapping[Any, PanopticEntry]
    """By image id."""
    categories: tuple[Category, ...]
    has_boxes: bool = False
    """None of its instances has a mask, and all have boxes, which stand for them."""

    @property
    def splits(self) -> frozenset[str]:
        """The names of a split that this file is found by: `train2017` for annotations/instances_train2017.json."""
        pure = PurePosixPath(self.path)
        stem = pure.name.removesuffix(".json")
        return frozenset({stem, stem.rsplit("_", 1)[-1], pure.parent.name}) - {"", "annotations", "coco"}

    @property
    def split(self) -> str:
        """What stands behind the last `_` of its name: where images of the split usually lie."""
        return PurePosixPath(self.path).stem.rsplit("_", 1)[-1]


def is_inside(path: str) -> bool:
    """Whether the path of a JSON file is one below the root, not one elsewhere."""
    return not storage.is_url(path) and not PurePosixPath(path).is_absolute()


def read_coco_file(root: str, path: str) -> CocoFile:
    """Read and index a COCO JSON file.

    Raises:
        DataError: it is missing, no JSON, or not in COCO's form.
    """
    location = storage.join(root, path) if is_inside(path) else path
    parsed = _parse(storage.read_file(location), location)
    lists = {key: parsed.get(key) for key in ("images", "annotations", "categories")}
    wrong = [key for key, value in lists.items() if not isinstance(value, list)]
    if wrong:
        raise DataError(
            f"{location} has no list {', '.join(wrong)}; name a COCO file of instances or "
            "panoptic labels (--annotations)"
        )
    if not all(isinstance(entry, ImageEntry) for entry in parsed["images"]):
        raise DataError(f"{location}: an entry of images has no file_name; correct it")
    instances, panoptic = _index(parsed["annotations"], location)
    kinds = {isinstance(one.segmentation, Box) for found in instances.values() for one in found}
    if len(kinds) > 1:
        instances = {image: [_without_box(one) for one in found] for image, found in instances.items()}
    if all(one.is_crowd for found in instances.values() for one in found):
        # Some tools mark every mask as a crowd, because they write it as RLE.
        instances = {image: [replace(one, is_crowd=False) for one in found] for image, found in instances.items()}
    return CocoFile(
        path=path,
        images=tuple(parsed["images"]),
        instances=instances,
        panoptic=panoptic,
        categories=_categories(parsed["categories"], location),
        has_boxes=kinds == {True},
    )


def _without_box(instance: Instance) -> Instance:
    """Where others have masks, one that has none is a mistake."""
    return replace(instance, segmentation=()) if isinstance(instance.segmentation, Box) else instance


def _parse(data: bytes, location: str) -> dict[str, Any]:
    try:
        parsed = json.loads(data, object_hook=_compact)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{location} is no JSON ({error}); fetch the file again") from None
    if not isinstance(parsed, dict):
        raise DataError(f"{location} is no COCO file: it holds no object; choose another file")
    return parsed


def _compact(mapping: dict[str, Any]) -> Any:
    """Replace an entry of a known kind by what is needed of it."""
    if "segments_info" in mapping:
        return PanopticEntry(mapping.get("image_id"), mapping.get("file_name"), mapping["segments_info"])
    if "file_name" in mapping:
        return ImageEntry(mapping.get("id"), mapping["file_name"], mapping.get("height"), mapping.get("width"))
    if "category_id" in mapping:
        identity, category, crowd = mapping.get("id"), mapping["category_id"], bool(mapping.get("iscrowd", 0))
        if "image_id" not in mapping:
            return PanopticSegment(identity, category, crowd)
        segmentation = mapping.get("segmentation")
        is_empty = not any(segmentation) if isinstance(segmentation, list) else not segmentation
        shape = Box(_packed([mapping["bbox"]])) if is_empty and "bbox" in mapping else _packed(segmentation)
        return Instance(identity, mapping["image_id"], category, crowd, shape)
    return mapping


def _packed(segmentation: Any) -> Any:
    """Numbers as machine doubles, an eighth of the memory; what cannot be packed stays for the reader to refuse."""
    try:
        if isinstance(segmentation, list):
            is_flat = bool(segmentation) and all(isinstance(one, int | float) for one in segmentation)
            return tuple(array("d", polygon) for polygon in ([segmentation] if is_flat else segmentation))
        if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), list):
            return {"size": segmentation.get("size"), "counts": array("q", segmentation["counts"])}
    except (TypeError, OverflowError):
        return segmentation
    return segmentation


def _index(annotations: list[Any], location: str) -> tuple[dict[Any, list[Instance]], dict[Any, PanopticEntry]]:
    instances: dict[Any, list[Instance]] = defaultdict(list)
    panoptic: dict[Any, PanopticEntry] = {}
    for entry in annotations:
        if not isinstance(entry, Instance | PanopticEntry) or not isinstance(entry.image_id, int | str):
            raise DataError(f"{location}: an annotation has no image_id and category_id or segments_info; correct it")
        if isinstance(entry, Instance):
            instances[entry.image_id].append(entry)
        else:
            panoptic[entry.image_id] = entry
    return dict(instances), panoptic


def _categories(entries: list[Any], location: str) -> tuple[Category, ...]:
    """In the order of their ids. A name that another category has already gets its id behind it."""
    found: dict[int, Category] = {}
    names: set[str] = set()
    try:
        for entry in sorted(entries, key=lambda one: int(one["id"])):
            number, name = int(entry["id"]), str(entry["name"])
            name = f"{name} ({number})" if name in names else name
            found[number] = Category(id=number, name=name, is_thing=bool(entry.get("isthing", 1)))
            names.add(name)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(f"{location}: a category has no integer id and name; correct it") from None
    if len(found) != len(entries) or not found:
        raise DataError(f"{location} has no categories, or two of one id; correct it")
    return tuple(found.values())
