"""COCO panoptic labels (Kirillov et al., CVPR 2019): a JSON file, and a PNG per image with id = R + 256 G + 256^2 B."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from unseg_core import storage
from unseg_core.data.layouts.coco import annotation_files, given_file
from unseg_core.data.layouts.coco_file import CocoFile, PanopticEntry, PanopticSegment
from unseg_core.data.layouts.coco_files import JsonLayout, best_folder, matching, member, open_coco_files, sample_id
from unseg_core.data.layouts.layout import Kind, Layout, Request, below
from unseg_core.data.rle import segments_of_map
from unseg_core.data.sample import Annotation, Sample, Segment, ignored_segment
from unseg_core.errors import DataError
from unseg_core.images import decode_id_map

PANOPTIC = r"(.*/)?[^/]*panoptic[^/]*\.json"


@dataclass(frozen=True, kw_only=True)
class PanopticLayout(JsonLayout):
    masks: tuple[Mapping[object, str], ...]
    """For each JSON file: image id -> path of the PNG below the root, where it is there."""

    def samples(self) -> Iterator[Sample]:
        for part, masks in zip(self.files.parts, self.masks, strict=True):
            for entry, path in part.images:
                mask = masks.get(entry.id)
                location = None if mask is None else storage.join(self.root, mask)
                segments = part.file.panoptic.get(entry.id)
                read = partial(read_panoptic, path, location, segments, self.files.positions)
                yield Sample(
                    id=sample_id(path), image=path, read_annotation=read, files=() if mask is None else (mask,)
                )


def open_coco_panoptic(request: Request) -> Layout:
    listing = frozenset(storage.list_files(request.root))
    paths = given_file(request) or matching(listing, PANOPTIC)
    if not paths:
        raise DataError(f"{request.root} has no annotations/panoptic_*.json; name the JSON file (--annotations)")
    files = open_coco_files(request, paths, listing)
    instances = next((part.file for part in files.parts if part.file.instances), None)
    if instances is not None:
        raise DataError(f"{instances.path} has annotations of instances; choose the layout coco")
    masks = tuple(_masks(request.root, part.file, listing) for part in files.parts)
    return PanopticLayout(name="coco-panoptic", files=files, masks=masks)


def _masks(root: str, file: CocoFile, listing: frozenset[str]) -> dict[object, str]:
    names = {one: member(root, file.path, entry.file_name) for one, entry in file.panoptic.items()}
    beside = PurePosixPath(file.path).with_suffix("")
    folders = [beside.name, beside.as_posix(), f"{beside.name}/{beside.name}", f"masks/{file.split}", ""]
    folder = best_folder(list(names.values()), folders, listing)
    paths = {one: below(folder, name) for one, name in names.items()}
    return {one: path for one, path in paths.items() if path in listing}


def read_panoptic(
    image: str, mask: str | None, entry: PanopticEntry | None, positions: Mapping[int, tuple[int, bool]]
) -> Annotation:
    """One PNG and its segments; pixels of id 0 are to be ignored.

    Args:
        positions: category id -> position in the classes, and whether it is a thing.

    Raises:
        DataError: one of the two is missing or damaged, or they do not list the same segments.
    """
    if mask is None or entry is None:
        raise DataError(f"{image} has no panoptic {'PNG' if entry else 'annotation'}; add it")
    ids = decode_id_map(storage.read_file(mask), mask)
    rles = segments_of_map(ids)
    void = rles.pop(0, None)
    listed = _listed(entry, mask)
    for number in listed.keys() ^ rles.keys():
        missing = "JSON" if number in rles else "PNG"
        raise DataError(f"{mask}: segment {number} is not in the {missing} file; fetch both again")
    segments = []
    for number, segment in listed.items():
        if segment.category_id not in positions:
            raise DataError(f"{mask}: segment {number} has the category {segment.category_id}, which is not listed")
        position, is_thing = positions[segment.category_id]
        segments.append(Segment(category=position, rle=rles[number], is_thing=is_thing, is_crowd=segment.is_crowd))
    ignored = ignored_segment([] if void is None else [void])
    return Annotation(height=ids.shape[0], width=ids.shape[1], segments=(*segments, *ignored))


def _listed(entry: PanopticEntry, mask: str) -> dict[int, PanopticSegment]:
    segments = entry.segments
    if not isinstance(segments, list) or not all(isinstance(one, PanopticSegment) for one in segments):
        raise DataError(f"{mask}: its segments_info in the JSON file has no ids and categories; fetch it again")
    return {one.id: one for one in segments}


COCO_PANOPTIC = Kind(
    open=open_coco_panoptic,
    detect=lambda root: bool(annotation_files(root, PANOPTIC)),
    description="annotations/panoptic_SPLIT.json, panoptic_SPLIT/NAME.png and SPLIT/, as COCO 2017",
    options=frozenset({"annotations"}),
)
