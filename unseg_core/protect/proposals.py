"""Masks for images that have none, proposed by a generator's SAM: a folder that `unseg protect --masks` takes."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from unseg_core import storage
from unseg_core.data.layouts.folder import NAMING
from unseg_core.data.layouts.layout import path_inside
from unseg_core.data.layouts.pairs import images_folder, list_images
from unseg_core.errors import DataError, ParameterError, StorageError
from unseg_core.images import decode_image, decode_label_map
from unseg_core.model.automatic_masks import MaskProposer
from unseg_core.progress import progress


@dataclass(kw_only=True)
class Proposals:
    """What has become of the images so far."""

    images: int = 0
    """In the source."""
    written: int = 0
    kept: int = 0
    """Masks that were there already."""
    empty: int = 0
    """Masks, written or kept, in which nothing is an object."""
    failed: dict[str, str] = field(default_factory=dict)
    """Images that cannot be used, and why."""

    def summary(self) -> dict[str, Any]:
        return asdict(self)


def propose_masks(source: str, target: str, proposer: MaskProposer) -> Proposals:
    """Write a mask, PNG with 0 and 255, for every image of a folder (its images/, or itself), of the image's name.

    A mask that is there already is left, so that the same call continues a run that was cut off.

    Raises:
        DataError: the source has no images, or two share a name but for the extension.
        ParameterError: the masks would lie among the images.
        StorageError: the target cannot be written; the same call continues.
    """
    images = images_without_masks(source, target)
    found = Proposals(images=len(images))
    with progress("propose masks", len(images)) as advance:
        for name, image in images.items():
            try:
                is_empty = not _mask_of(source, image, storage.join(target, f"{name}.png"), proposer, found).any()
                found.empty += is_empty
            except StorageError:
                raise
            except DataError as error:
                found.failed[image] = str(error)
            advance(1)
    return found


def images_without_masks(source: str, target: str) -> dict[str, str]:
    """Name without extension -> path below the source; the target's files, if they lie below it, are no images.

    Raises:
        DataError, ParameterError: as propose_masks.
    """
    if not storage.is_folder(source):
        raise DataError(f"{source} is not a folder; check the path")
    folder = images_folder(source, NAMING)
    location = storage.join(source, folder) if folder else source
    if path_inside(target, location) is not None:
        raise ParameterError(f"{target} holds the images, and masks have their names; choose another folder")
    inside = path_inside(location, target)
    masks = None if inside is None else f"{storage.join(location, inside)}/"
    return list_images(source, NAMING, lambda path: masks is not None and path.startswith(masks))


def _mask_of(source: str, image: str, target: str, proposer: MaskProposer, found: Proposals) -> np.ndarray:
    """The mask that is there, or a new one."""
    if storage.exists(target):
        mask, _ = decode_label_map(storage.read_file(target), target)
        found.kept += 1
        return mask
    pixels = decode_image(storage.read_file(storage.join(source, image)), image).pixels
    mask = proposer.propose(pixels).mask.astype(np.uint8) * 255
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG")
    storage.write_file(target, buffer.getvalue())
    found.written += 1
    return mask
