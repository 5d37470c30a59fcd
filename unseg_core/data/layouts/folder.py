"""Any folder of images with masks of the same names."""

from __future__ import annotations

import json

from unseg_core import storage
from unseg_core.data.layouts.layout import Kind, Layout, Request
from unseg_core.data.layouts.pairs import BINARY, Naming, open_pairs, own_masks_folder
from unseg_core.data.layouts.unmasked import open_unmasked
from unseg_core.errors import DataError

CLASSES_FILE = "classes.json"
NAMING = Naming(images=("images", "image", "imgs", "img"), masks=("masks", "mask"), flat=True, any_suffix=True)


def open_folder(request: Request) -> Layout:
    if request.whole and not request.masks and own_masks_folder(request.root, NAMING) is None:
        return open_unmasked("folder", request, NAMING)
    return open_pairs("folder", request, NAMING, classes=request.classes or read_classes(request.root))


def read_classes(root: str) -> tuple[str, ...]:
    """Class names from classes.json, or one binary class.

    Raises:
        DataError: the file is not a mapping of "1", "2", ... to names; one of "0" is left out.
    """
    location = storage.join(root, CLASSES_FILE)
    if not storage.exists(location):
        return BINARY
    try:
        names = json.loads(storage.read_file(location))
        return tuple(str(names[str(number)]) for number in range(1, max(map(int, names)) + 1))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f'{location} is not a mapping of "0", "1", ... to class names; correct or remove it') from None


FOLDER = Kind(
    open=open_folder,
    detect=lambda root: True,
    description="images/ and masks/ of the same names, or all with one ending as in NAME_mask (PNG, JPEG, TIFF, BMP, "
    "WebP); classes.json names classes of label maps; prompt whole needs no masks",
    options=frozenset({"classes", "masks"}),
)
