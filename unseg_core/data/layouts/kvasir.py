"""Kvasir-SEG (Jha et al., MMM 2020): images/ and masks/ of polyps, masks as JPEG."""

from __future__ import annotations

from unseg_core import storage
from unseg_core.data.layouts.folder import CLASSES_FILE
from unseg_core.data.layouts.layout import Kind, Layout, Request
from unseg_core.data.layouts.pairs import Naming, open_pairs

NAMING = Naming(images=("images",), masks=("masks",))
BOXES = ("kavsir_bboxes.json", "kvasir_bboxes.json")
"""Comes with the data set; the first spelling is the official one."""


def open_kvasir(request: Request) -> Layout:
    return open_pairs("kvasir", request, NAMING, classes=request.classes or ("polyp",))


def is_kvasir(root: str) -> bool:
    """By its file of boxes, or by the folder's name: otherwise it looks like any folder of images and masks."""
    if not all(storage.is_folder(storage.join(root, part)) for part in ("images", "masks")):
        return False
    if storage.exists(storage.join(root, CLASSES_FILE)):
        return False
    named = "kvasir" in root.rstrip("/").rsplit("/", 1)[-1].lower()
    return named or any(storage.exists(storage.join(root, file)) for file in BOXES)


KVASIR = Kind(
    open=open_kvasir,
    detect=is_kvasir,
    description="images/ and masks/, as Kvasir-SEG; masks may be JPEG",
    options=frozenset({"classes", "masks"}),
)
