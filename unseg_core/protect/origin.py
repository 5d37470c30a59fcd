"""Which annotations of the source a copy was made with: as its settings record it, and how the source is opened again.

A path below the source is recorded as it is. Of what lies elsewhere the manifest, which may be published, has no
path: a hash tells it from others.
"""

from __future__ import annotations

import hashlib

from unseg_core import storage
from unseg_core.data.layouts import Layout, open_layout
from unseg_core.data.layouts.coco import given_file
from unseg_core.data.layouts.coco_file import is_inside
from unseg_core.data.layouts.layout import Request, path_inside
from unseg_core.errors import ParameterError
from unseg_core.protect.manifest import Settings

ELSEWHERE = "sha256:"


def recorded_masks(root: str, masks: str | None) -> str:
    """A folder of masks for Settings.masks; elsewhere, the hash is one of its files' names and sizes.

    Raises:
        DataError: there is no such folder.
    """
    if not masks:
        return ""
    inside = path_inside(root, masks)
    if inside is not None:
        return inside
    digest = hashlib.sha256()
    for path, size in storage.list_sizes(masks):
        digest.update(f"{size} {path}\n".encode(errors="surrogateescape"))
    return ELSEWHERE + digest.hexdigest()


def recorded_annotations(root: str, annotations: str | None) -> str:
    """A COCO JSON file for Settings.annotations; elsewhere, the hash is the file's.

    Raises:
        DataError: there is no such file.
    """
    if not annotations:
        return ""
    (path,) = given_file(Request(root=root, annotations=annotations))
    return path if is_inside(path) else ELSEWHERE + storage.sha256_of(path)


def open_original(
    settings: Settings,
    root: str,
    *,
    masks: str | None = None,
    split: str | None = None,
    annotations: str | None = None,
) -> Layout:
    """The data set below `root`, opened as the copy with these settings saw it.

    Args:
        masks, split, annotations: over what the settings say; None leaves it.

    Raises:
        ParameterError: masks or annotations came from elsewhere and are not given.
        DataError: the data set is not in its layout.
    """
    if masks is None and settings.masks:
        place = _place(settings.masks, "masks")
        masks = root if place == "." else storage.join(root, place)
    if annotations is None and settings.annotations:
        annotations = _place(settings.annotations, "annotations")
    return open_layout(
        settings.layout,
        root,
        classes=settings.classes,
        masks=masks,
        split=settings.split if split is None else split,
        annotations=annotations,
        whole=settings.prompt == "whole",
    )


def _place(recorded: str, option: str) -> str:
    if recorded.startswith(ELSEWHERE):
        raise ParameterError(f"the {option} of this copy did not come from its source; name them (--{option})")
    return recorded
