"""Cityscapes labels in COCO's panoptic form, as cityscapesScripts makes them, for copies that have no other labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from unseg_core import storage
from unseg_core.data.layouts.coco_file import PanopticEntry, read_coco_file
from unseg_core.data.layouts.coco_files import matching, member
from unseg_core.errors import DataError

FILES = r"cityscapes_panoptic_[^/]*\.json"


def panoptic_entries(root: str, folder: str) -> Iterator[tuple[str, str, PanopticEntry]]:
    """SPLIT/CITY/NAME, path of the PNG below the root, and segments, from folder/cityscapes_panoptic_SPLIT.json.

    Raises:
        DataError: a file is damaged, or names a path that leaves the data set.
    """
    for name in matching(storage.members(storage.join(root, folder)), FILES):
        file = read_coco_file(root, f"{folder}/{name}")
        for image, entry in file.panoptic.items():
            city = str(image).split("_", 1)[0]
            if "/" in str(image) or not city:
                raise DataError(f"{file.path} names the image {image!r}; its names are CITY_NUMBER_NUMBER")
            png = f"{folder}/{PurePosixPath(name).stem}/{member(root, file.path, entry.file_name)}"
            yield f"{file.split}/{city}/{image}", png, entry
