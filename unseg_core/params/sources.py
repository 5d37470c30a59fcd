"""Section `sources`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unseg_core.errors import ParameterError
from unseg_core.params.checks import check_range

LayoutName = Literal[
    "voc", "ade20k", "cityscapes", "nwpu", "ssdd", "whu", "coco", "coco-panoptic", "hqseg", "lung", "kvasir", "folder"
]  # fmt: skip
"""The keys of unseg_core.data.layouts.LAYOUTS, which is on a higher floor (a test compares them)."""


@dataclass(frozen=True, kw_only=True)
class SourceParams:
    """One data set that `fetch@SOURCE` brings into data/ROLE/SOURCE."""

    role: Literal["training", "datasets"]
    """`training`: the generator learns from it; `datasets`: it is protected and evaluated."""
    kind: Literal["scenes", "files", "hqseg"]
    """`scenes`: rendered by this project; `files`: copied from `path`; `hqseg`: HQSeg-44K, fetched and checked."""
    layout: LayoutName = "folder"
    path: str = ""
    """For `files`: a URL, an absolute path, or a path below UNSEG_DATA. For `hqseg` such a folder that holds DIS5K.zip,
    cascade_psp.zip and thin_object_detection.zip; empty for the official location."""
    archives: tuple[str, ...] = ()
    """For `hqseg`, instead of `path`: where each archive is; `#sha256:HEX` at the end of an entry is checked."""
    count: int = 0
    """Number of images; 0 takes all of them (`files`)."""
    size: int = 128
    """For `scenes`: height and width in pixels."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("sources.*.count", self.count, 0, 10_000_000)
        check_range("sources.*.size", self.size, 32, 4096)
        if self.kind == "scenes" and (self.count == 0 or self.layout != "folder"):
            raise ParameterError("sources.*: kind 'scenes' needs a count above 0 and layout 'folder'")
        if self.kind == "hqseg" and self.layout == "folder":
            # Its only one, and the field's default is another.
            object.__setattr__(self, "layout", "hqseg")
        if self.kind == "hqseg" and (self.count or (self.path and self.archives)):
            raise ParameterError("sources.*: kind 'hqseg' takes no count, and path or archives, not both")
        if self.archives and self.kind != "hqseg":
            raise ParameterError("sources.*.archives is for kind 'hqseg'; give path")
        if self.kind == "files" and not self.path:
            raise ParameterError("sources.*.path is empty; kind 'files' needs the folder or URL to copy from")
