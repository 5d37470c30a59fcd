"""Cityscapes (Cordts et al., CVPR 2016).

leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png belongs to gtFine/SPLIT/CITY/NAME_gtFine_instanceIds.png and _labelIds.png.
Segments are those of the official panoptic labels: one for each object of a thing class, one for each class else;
groups of objects are crowds; what is not evaluated is to be ignored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from unseg_core import storage
from unseg_core.data.layouts.cityscapes_classes import CLASSES, FIRST_THING
from unseg_core.data.layouts.cityscapes_panoptic import panoptic_entries
from unseg_core.data.layouts.coco_file import PanopticEntry
from unseg_core.data.layouts.coco_panoptic import read_panoptic
from unseg_core.data.layouts.layout import Kind, Layout, Request
from unseg_core.data.layouts.splits import in_folder
from unseg_core.data.rle import Rle, segments_of_map
from unseg_core.data.sample import Annotation, Sample, Segment, ignored_segment
from unseg_core.errors import DataError
from unseg_core.images import decode_id_map

IMAGES = "leftImg8bit"
LABELS = ("gtFine", "gtCoarse")
"""The first that a split is in."""
KINDS = ("instanceIds", "labelIds")
"""The first that is there is read: instanceIds hold the labels of everything else as well."""
OBJECTS = 1000
"""An object's number is its class times this plus its index; smaller numbers are classes."""
CATEGORIES = {number: position for position, number in enumerate(CLASSES, start=1)}
POSITIONS = {number: (position, number >= FIRST_THING) for number, position in CATEGORIES.items()}


@dataclass(frozen=True, kw_only=True)
class CityscapesLayout:
    root: str
    images: dict[str, str]
    """SPLIT/CITY/NAME -> path below the root."""
    labels: dict[str, tuple[str, ...]]
    """SPLIT/CITY/NAME -> paths of its label files below the root, the one to read first."""
    panoptic: dict[str, PanopticEntry]
    """SPLIT/CITY/NAME -> its segments, where the label file is a panoptic PNG."""
    name: str = "cityscapes"
    classes: tuple[str, ...] = tuple(CLASSES.values())
    class_ids: tuple[int, ...] = tuple(CLASSES)

    def samples(self) -> Iterator[Sample]:
        for one, image in self.images.items():
            files = self.labels.get(one, ())
            location = storage.join(self.root, files[0]) if files else None
            read = partial(read_labels, image, location)
            if one in self.panoptic:
                read = partial(read_panoptic, image, location, self.panoptic[one], POSITIONS)
            yield Sample(id=one, image=image, read_annotation=read, files=files)

    def orphans(self) -> list[str]:
        return [file for one, files in self.labels.items() if one not in self.images for file in files[:1]]


def open_cityscapes(request: Request) -> Layout:
    if not is_cityscapes(request.root):
        raise DataError(
            f"{request.root} has no {IMAGES}/ beside {LABELS[0]}/ or {LABELS[1]}/; unpack both packages there"
        )
    labels, panoptic = _labels(request.root), {}
    if not labels:
        entries = {one: (png, entry) for one, png, entry in panoptic_entries(request.root, LABELS[0])}
        labels = {one: (png,) for one, (png, _) in entries.items()}
        panoptic = {one: entry for one, (_, entry) in entries.items()}
    splits = {one.split("/", 1)[0] for one in labels}
    found = _by_name(request.root, IMAGES, (f"_{IMAGES}.png",))
    images = {one: paths[0] for one, paths in found.items() if one.split("/", 1)[0] in splits}
    if not images:
        raise DataError(f"{storage.join(request.root, IMAGES)} holds no SPLIT/CITY/NAME_{IMAGES}.png that has labels")
    chosen = in_folder(request.root, request.split, images, dict.fromkeys(labels, ""))
    of_split = {one: labels[one] for one in chosen.masks}
    return CityscapesLayout(root=request.root, images=chosen.images, labels=of_split, panoptic=panoptic)


def is_cityscapes(root: str) -> bool:
    has_labels = any(storage.is_folder(storage.join(root, folder)) for folder in LABELS)
    return has_labels and storage.is_folder(storage.join(root, IMAGES))


def _labels(root: str) -> dict[str, tuple[str, ...]]:
    """Label files by SPLIT/CITY/NAME, fine ones where a split has them."""
    fine, coarse = (_by_name(root, folder, tuple(f"_{folder}_{kind}.png" for kind in KINDS)) for folder in LABELS)
    splits = {one.split("/", 1)[0] for one in fine}
    return {**fine, **{one: files for one, files in coarse.items() if one.split("/", 1)[0] not in splits}}


def _by_name(root: str, folder: str, endings: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Files below `folder` with one of the endings, by what comes before it, in the order of the endings."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    location = storage.join(root, folder)
    for path in storage.list_files(location) if storage.is_folder(location) else ():
        for ending in endings:
            if path.endswith(ending):
                found[path.removesuffix(ending)][ending] = f"{folder}/{path}"
    return {one: tuple(files[ending] for ending in endings if ending in files) for one, files in found.items()}


def read_labels(image: str, location: str | None) -> Annotation:
    """An instanceIds or labelIds file.

    Raises:
        DataError: it is missing, damaged, or holds numbers that are no class.
    """
    if location is None:
        raise DataError(f"{image} has no label file; add its instanceIds.png or labelIds.png")
    ids = decode_id_map(storage.read_file(location), location)
    objects = location.endswith(f"_{KINDS[0]}.png")
    rles = segments_of_map(ids)
    if max(rles, default=0) >= (FIRST_THING + 10) * (OBJECTS if objects else 1):
        raise DataError(f"{location} holds the number {max(rles)}, which is no label of Cityscapes; fetch it again")
    known = {number: rle for number, rle in rles.items() if _label(number) in CATEGORIES}
    segments = [_segment(number, rle, objects) for number, rle in known.items()]
    ignored = ignored_segment([rle for number, rle in rles.items() if number not in known])
    return Annotation(height=ids.shape[0], width=ids.shape[1], segments=(*segments, *ignored))


def _label(number: int) -> int:
    return number // OBJECTS if number >= OBJECTS else number


def _segment(number: int, rle: Rle, objects: bool) -> Segment:
    label = _label(number)
    is_thing = label >= FIRST_THING
    is_group = objects and is_thing and number < OBJECTS
    return Segment(category=CATEGORIES[label], rle=rle, is_thing=is_thing, is_crowd=is_group)


CITYSCAPES = Kind(
    open=open_cityscapes,
    detect=is_cityscapes,
    description="leftImg8bit/ and gtFine/ (or gtCoarse/), each SPLIT/CITY/; reads instanceIds, labelIds or panoptic",
)
