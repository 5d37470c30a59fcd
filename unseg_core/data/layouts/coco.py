"""COCO instances (Lin et al., ECCV 2014), and any other data set that is described by COCO JSON files of instances."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from unseg_core import storage
from unseg_core.data.layouts.coco_file import ImageEntry, Instance, is_inside
from unseg_core.data.layouts.coco_files import JsonLayout, matching, open_coco_files, sample_id
from unseg_core.data.layouts.coco_masks import instance_rle, size_of
from unseg_core.data.layouts.layout import Kind, Layout, Request, path_inside
from unseg_core.data.sample import Annotation, Sample, Segment
from unseg_core.errors import DataError

INSTANCES = r"(.*/)?[^/]*instances[^/]*\.json"
ANY = r"([^/]*/)?(?!classes\.json|manifest\.json|panoptic|captions|image_info|stuff|person_keypoints)[^/]*\.json"
"""Not the files that COCO and a protected copy have besides; not deeper than one folder."""
SNIFFED = (
    "annotations.json", "instances.json", "_annotations.coco.json", "train/_annotations.coco.json",
    "valid/_annotations.coco.json", "test/_annotations.coco.json", "annotations/train.json", "annotations/val.json",
)  # fmt: skip
"""Names that are as good as a file of instances."""


@dataclass(frozen=True, kw_only=True)
class CocoLayout(JsonLayout):
    def samples(self) -> Iterator[Sample]:
        for part in self.files.parts:
            for entry, path in part.images:
                instances = part.file.instances.get(entry.id, ())
                read = partial(read_instances, part.file.path, entry, instances, self.files.positions)
                yield Sample(id=sample_id(path), image=path, read_annotation=read)


def open_coco(request: Request) -> Layout:
    listing = frozenset(storage.list_files(request.root))
    paths = given_file(request) or _discover(listing)
    if not paths:
        raise DataError(f"{request.root} has no annotations/instances_*.json; name the JSON file (--annotations)")
    return open_instances("coco", request, paths, listing)


def open_instances(name: str, request: Request, paths: Sequence[str], listing: Collection[str]) -> Layout:
    """A data set of the JSON files `paths`; see open_coco_files for what is raised.

    Where no instance of a file has a mask, boxes stand for them, but not in data sets that are known to have masks.
    """
    files = open_coco_files(request, paths, listing)
    boxes = next((part.file for part in files.parts if part.file.has_boxes), None)
    if boxes is not None and name != "coco":
        raise DataError(f"{boxes.path} has boxes and no masks; fetch the file of instance masks, or use --layout coco")
    panoptic = next((part.file for part in files.parts if part.file.panoptic), None)
    if panoptic is not None:
        raise DataError(f"{panoptic.path} has panoptic annotations; choose the layout coco-panoptic")
    return CocoLayout(name=name, files=files)


def given_file(request: Request) -> list[str]:
    """The file that was named: below the root if it is there, else as it is; none if none was named.

    Raises:
        DataError: there is no such file.
    """
    path = request.annotations
    if not path:
        return []
    if is_inside(path) and ".." not in path and storage.exists(storage.join(request.root, path)):
        return [path]
    if not storage.exists(path):
        raise DataError(f"{path} is neither below {request.root} nor a file of its own; check --annotations")
    found = path_inside(request.root, path)
    return [found or (path if storage.is_url(path) else Path(path).resolve().as_posix())]


def _discover(listing: Collection[str]) -> list[str]:
    return matching(listing, INSTANCES) or matching(listing, ANY)


def is_coco(root: str) -> bool:
    """By the names of the files in annotations/, and a few others."""
    return bool(annotation_files(root, INSTANCES)) or any(storage.exists(storage.join(root, name)) for name in SNIFFED)


def annotation_files(root: str, pattern: str) -> list[str]:
    """Files of annotations/ whose path below the root matches."""
    folder = storage.join(root, "annotations")
    return matching([f"annotations/{name}" for name in storage.members(folder)], pattern)


def read_instances(
    path: str, entry: ImageEntry, instances: Sequence[Instance], positions: Mapping[int, tuple[int, bool]]
) -> Annotation:
    """The instances of one image; those without an area are left out.

    Args:
        path: of the JSON file, for messages.
        positions: category id -> position in the classes, and whether it is a thing.

    Raises:
        DataError: an instance has no mask, although others have, or one that cannot be read, or a category that is not
            listed.
    """
    segments = []
    try:
        height, width = size_of(entry)
        for instance in instances:
            if instance.category_id not in positions:
                raise DataError(
                    f"annotation {instance.id} has the category {instance.category_id}, which is not listed"
                )
            rle = instance_rle(instance, height, width)
            position, is_thing = positions[instance.category_id]
            if rle is not None:
                segments.append(Segment(category=position, rle=rle, is_thing=is_thing, is_crowd=instance.is_crowd))
    except DataError as error:
        raise DataError(f"{path}: {error}; correct it") from None
    return Annotation(height=height, width=width, segments=tuple(segments))


COCO = Kind(
    open=open_coco,
    detect=is_coco,
    description="annotations/instances_SPLIT.json and SPLIT/, as COCO 2017, or any other COCO JSON (--annotations); "
    "in a file of boxes without masks, the box is the mask",
    options=frozenset({"annotations"}),
)
