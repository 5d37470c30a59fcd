"""NWPU VHR-10 with instances (Cheng et al., ISPRS 2014; Su et al., IGARSS 2019) as RSPrompter lays it out."""

from __future__ import annotations

from unseg_core import storage
from unseg_core.data.layouts.coco import annotation_files, open_instances
from unseg_core.data.layouts.coco_files import matching
from unseg_core.data.layouts.layout import Kind, Layout, Request
from unseg_core.errors import DataError

FILES = r"annotations/NWPU_instances_[^/]*\.json"


def open_nwpu(request: Request) -> Layout:
    listing = frozenset(storage.list_files(request.root))
    paths = matching(listing, FILES)
    if not paths:
        raise DataError(f"{request.root} has no annotations/NWPU_instances_SPLIT.json; add it, and the images in imgs/")
    return open_instances("nwpu", request, paths, listing)


NWPU = Kind(
    open=open_nwpu,
    detect=lambda root: bool(annotation_files(root, FILES)),
    description="imgs/ and annotations/NWPU_instances_{train,val}.json, as RSPrompter has NWPU VHR-10",
)
