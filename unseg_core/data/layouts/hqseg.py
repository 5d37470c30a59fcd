"""HQSeg-44K (Ke et al., NeurIPS 2023): one set of pairs in im/ and gt/, or all of it as its authors publish it."""

from __future__ import annotations

from unseg_core import storage
from unseg_core.data.layouts.folder import read_classes
from unseg_core.data.layouts.hqseg44k import is_hqseg44k, open_hqseg44k
from unseg_core.data.layouts.layout import Kind, Layout, Request
from unseg_core.data.layouts.pairs import Naming, open_pairs
from unseg_core.errors import ParameterError

NAMING = Naming(images=("im",), masks=("gt",))


def open_hqseg(request: Request) -> Layout:
    if is_hqseg44k(request.root):
        if request.masks:
            raise ParameterError("HQSeg-44K has its masks beside its images; leave --masks out")
        return open_hqseg44k(request.root, split=request.split)
    return open_pairs("hqseg", request, NAMING, classes=request.classes or read_classes(request.root))


def is_hqseg(root: str) -> bool:
    return all(storage.is_folder(storage.join(root, part)) for part in ("im", "gt")) or is_hqseg44k(root)


HQSEG = Kind(
    open=open_hqseg,
    detect=is_hqseg,
    description="im/NAME.jpg and gt/NAME.png, or all of HQSeg-44K: DIS5K/, cascade_psp/, thin_object_detection/",
    options=frozenset({"classes", "masks"}),
)
