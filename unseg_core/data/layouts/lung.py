"""Lungs on the chest X-rays of Montgomery and Shenzhen (Jaeger et al., QIMS 2014; Candemir et al., TMI 2014)."""

from __future__ import annotations

from unseg_core import storage
from unseg_core.data.layouts.layout import Kind, Layout, Request
from unseg_core.data.layouts.pairs import Naming, open_pairs

NAMING = Naming(images=("images", "CXR_png"), masks=("masks", "mask"), mask_suffix="_mask")
NAMES = ("CHNCXR_", "MCUCXR_")


def open_lung(request: Request) -> Layout:
    return open_pairs("lung", request, NAMING, classes=request.classes or ("lung",))


def is_lung(root: str) -> bool:
    """By the names of images."""
    folders = [storage.join(root, folder) for folder in NAMING.images]
    masks = [storage.join(root, folder) for folder in NAMING.masks]
    images = next((folder for folder in folders if storage.is_folder(folder)), None)
    if images is None or not any(storage.is_folder(folder) for folder in masks):
        return False
    return any(name.startswith(NAMES) for name in storage.members(images))


LUNG = Kind(
    open=open_lung,
    detect=is_lung,
    description="images/ or CXR_png/ and masks/ (NAME or NAME_mask), as the Montgomery and Shenzhen chest X-rays",
    options=frozenset({"classes", "masks"}),
)
