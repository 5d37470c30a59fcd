"""Remote sensing data with COCO instances in imgs/ and annotations/, as RSPrompter (Chen et al., TGRS 2024) has it."""

from __future__ import annotations

from unseg_core import storage
from unseg_core.data.layouts.coco import annotation_files, open_instances
from unseg_core.data.layouts.coco_files import matching
from unseg_core.data.layouts.layout import Kind, Layout, Request
from unseg_core.errors import DataError


def rsprompter_kind(name: str, prefix: str, title: str) -> Kind:
    """The layout whose JSON files are annotations/PREFIX_instances_SPLIT.json."""
    files = rf"annotations/{prefix}_instances_[^/]*\.json"

    def open_one(request: Request) -> Layout:
        listing = frozenset(storage.list_files(request.root))
        paths = matching(listing, files)
        if not paths:
            wanted = f"annotations/{prefix}_instances_SPLIT.json"
            raise DataError(f"{request.root} has no {wanted}; add it, and the images in imgs/")
        return open_instances(name, request, paths, listing)

    return Kind(
        open=open_one,
        detect=lambda root: bool(annotation_files(root, files)),
        description=f"imgs/ and annotations/{prefix}_instances_{{train,val}}.json, as RSPrompter has {title}",
    )
