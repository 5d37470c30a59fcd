"""Pairs of an image file and a mask file of the same name: the base of all layouts that keep masks as images.

A mask is binary where the data set has one class, and a map of class numbers (0 background, 255 ignore) otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from unseg_core import storage
from unseg_core.data.layouts.layout import Request, below, path_inside
from unseg_core.data.layouts.splits import choose_split
from unseg_core.data.rle import segments_of_map
from unseg_core.data.sample import IGNORE_INDEX, Annotation, Sample, Segment, segment_of
from unseg_core.errors import DataError
from unseg_core.images import EXTENSIONS, decode_label_map

BINARY_THRESHOLD = 127
BINARY = ("object",)
MOST_LABELS, DARK = 32, 16
"""A mask of more values has been JPEG or is soft; what is darker there may be nothing."""
SEPARATORS = "_-. "
"""What an ending of masks' names may begin with."""

ReadMask = Callable[[str, str | None], Annotation]
"""From an image's path and the location of its mask (None if there is none)."""


@dataclass(frozen=True, kw_only=True)
class PairsLayout:
    name: str
    root: str
    classes: tuple[str, ...]
    images: dict[str, str]
    """id -> image path below the root, in order."""
    masks_folder: str
    """Path or URL."""
    masks: dict[str, str]
    """id -> mask path below the masks' folder."""
    own_masks: str | None
    """The masks' folder below the root ("" for the root itself); None if it lies elsewhere."""
    read: ReadMask
    missing: tuple[str, ...] = ()
    """What the split names and is not there."""

    @property
    def class_ids(self) -> tuple[int, ...]:
        return tuple(range(1, len(self.classes) + 1))

    def samples(self) -> Iterator[Sample]:
        for one, image in self.images.items():
            path = self.masks.get(one)
            mask = None if path is None else storage.join(self.masks_folder, path)
            own = () if path is None or self.own_masks is None else (below(self.own_masks, path),)
            yield Sample(id=one, image=image, read_annotation=partial(self.read, image, mask), files=own)

    def orphans(self) -> list[str]:
        without = [storage.join(self.masks_folder, mask) for one, mask in self.masks.items() if one not in self.images]
        return [*without, *self.missing]


@dataclass(frozen=True, kw_only=True)
class Naming:
    """Folder names of a layout, the first that is there; images may also lie in the root itself where `flat` is set."""

    images: tuple[str, ...]
    masks: tuple[str, ...]
    flat: bool = False
    mask_suffix: str = ""
    """What a mask's name may have behind the image's."""
    any_suffix: bool = False
    """It may be anything that begins with one of SEPARATORS, if no mask has the name of an image."""


def open_pairs(name: str, request: Request, naming: Naming, *, classes: tuple[str, ...]) -> PairsLayout:
    """List images and masks of one folder each.

    Args:
        classes: one name for binary masks, else the names of the values 1, 2, ....

    Raises:
        DataError: a folder is missing, there are no images, or two files share a name but for the extension.
        ParameterError: unknown split.
    """
    root = request.root
    own = own_masks_folder(root, naming) or naming.masks[0]
    masks_folder = request.masks or storage.join(root, own)
    if not storage.is_folder(masks_folder):
        ways = "name the folder of the masks (--masks), make some (`unseg masks`) or protect with --prompt whole"
        raise DataError(f"{masks_folder} is not a folder; {ways}")
    mask_files = by_stem(masks_folder, storage.list_files(masks_folder))
    if not mask_files:
        raise _no_masks(masks_folder)
    within = {storage.join(masks_folder, path) for path in mask_files.values()}
    images = list_images(root, naming, lambda location: location in within)
    suffix = common_suffix(mask_files, images) if naming.any_suffix else naming.mask_suffix
    masks = _plain(mask_files, suffix, images)
    if not any(stem in images for stem in masks):
        raise _no_common_name(next(iter(images.values())), next(iter(mask_files.values())))
    chosen = choose_split(root, request.split, images, masks)
    return PairsLayout(
        name=name,
        root=root,
        classes=classes,
        images=chosen.images,
        masks_folder=masks_folder,
        masks=chosen.masks,
        own_masks=_below_root(root, request.masks) if request.masks else own,
        read=partial(read_pair, classes=len(classes)),
        missing=chosen.missing,
    )


def _no_masks(folder: str) -> DataError:
    other = next(storage.list_files(folder), None)
    found = f"; convert those that it has, such as {other}" if other else ""
    return DataError(f"{folder} holds no mask that is read ({', '.join(EXTENSIONS)}){found}")


def _no_common_name(image: str, mask: str) -> DataError:
    return DataError(
        f"no mask has the name of an image: there are images such as {image}, and masks such as {mask}; give the "
        "folder of the images itself as source, or rename them"
    )


def _below_root(root: str, masks: str) -> str | None:
    inside = path_inside(root, masks)
    return "" if inside == "." else inside


def own_masks_folder(root: str, naming: Naming) -> str | None:
    """The folder below the root that a layout keeps its masks in; None if it is not there."""
    return next((folder for folder in naming.masks if storage.is_folder(storage.join(root, folder))), None)


def list_images(root: str, naming: Naming, is_other: Callable[[str], bool] = lambda location: False) -> dict[str, str]:
    """id -> path below the root of every image, but for the locations that are something else.

    Raises:
        DataError: there is no folder of images, no image, or two share a name but for the extension.
    """
    folder = images_folder(root, naming)
    location = storage.join(root, folder) if folder else root
    files = (path for path in storage.list_files(location) if not is_other(storage.join(location, path)))
    images = {stem: below(folder, path) for stem, path in by_stem(location, files).items()}
    if not images and any(is_other(storage.join(location, path)) for path in storage.list_files(location)):
        raise DataError(f"{location} is the folder of the masks and has no images besides; move them apart")
    if not images:
        raise DataError(f"{location} holds no image ({', '.join(EXTENSIONS)}); check the path")
    return images


def images_folder(root: str, naming: Naming) -> str:
    """Where the images lie below the root: "" for the root itself."""
    for folder in naming.images:
        if storage.is_folder(storage.join(root, folder)):
            return folder
    if naming.flat:
        return ""
    raise DataError(f"{root} has no folder {naming.images[0]!r}; this layout keeps its images there")


def _plain(masks: dict[str, str], suffix: str, images: Collection[str]) -> dict[str, str]:
    """Masks by the stem of their image, without the suffix that some have."""
    if not suffix:
        return masks
    return {stem if stem in images else stem.removesuffix(suffix): path for stem, path in masks.items()}


def by_stem(folder: str, paths: Iterable[str], extensions: Collection[str] = EXTENSIONS) -> dict[str, str]:
    """Image files by their path without extension; `folder` names them in messages.

    Raises:
        DataError: two have the same.
    """
    found: dict[str, str] = {}
    for path in paths:
        pure = PurePosixPath(path)
        if pure.suffix.lower() not in extensions:
            continue
        stem = pure.with_suffix("").as_posix()
        if stem in found:
            raise DataError(f"{folder}: {found[stem]} and {path} have the same name but for the extension; rename one")
        found[stem] = path
    return found


def common_suffix(masks: Collection[str], images: Collection[str]) -> str:
    """What most masks have behind the name of an image, of those the shortest; "" where masks have images' names."""
    if any(stem in images for stem in masks):
        return ""
    found = Counter(
        stem[place:]
        for stem in masks
        for place, letter in enumerate(stem)
        if letter in SEPARATORS and stem[:place] in images
    )
    return min(found, key=lambda suffix: (-found[suffix], len(suffix), suffix), default="")


def labelled_only(images: dict[str, str], masks: Collection[str]) -> dict[str, str]:
    """Images of the splits (the first folder of an id) that have masks at all; a test split often has none."""
    splits = {one.split("/", 1)[0] for one in masks}
    return {one: image for one, image in images.items() if one.split("/", 1)[0] in splits}


def read_pair(image: str, mask: str | None, classes: int) -> Annotation:
    """One mask file: a segment per class that occurs.

    Raises:
        DataError: the mask is missing, damaged, or holds values that are no class.
    """
    if classes != 1:
        return read_label_map(image, mask, classes=classes)
    location = _present(image, mask)
    values, lossless = decode_label_map(storage.read_file(location), location)
    foreground = _binary(values, lossless, location)
    only = (segment_of(foreground, 1),) if foreground.any() else ()
    return Annotation(height=values.shape[0], width=values.shape[1], segments=only)


def read_label_map(
    image: str,
    mask: str | None,
    *,
    classes: int,
    ignored: int = IGNORE_INDEX,
    things: frozenset[int] | None = None,
) -> Annotation:
    """A map of class numbers: a segment per class that occurs, and one that is a crowd for what is to be ignored.

    Args:
        ignored: the value of pixels that have no label; 0 is background unless it is this.
        things: categories that are countable objects; None: all.

    Raises:
        DataError: the mask is missing, damaged, or holds values that are no class.
    """
    location = _present(image, mask)
    values, lossless = decode_label_map(storage.read_file(location), location, labels=True)
    if not lossless:
        raise DataError(f"{location} is JPEG or WebP, which change class numbers; give PNG masks")
    rles = segments_of_map(values)
    wrong = [value for value in rles if value > classes and value != ignored]
    if wrong:
        raise DataError(f"{location} has the values {wrong}; there are {classes} classes, {_meaning(ignored)}")
    segments = tuple(
        Segment(
            category=IGNORE_INDEX if value == ignored else value,
            rle=rle,
            is_thing=things is None or value in things,
            is_crowd=value == ignored,
        )
        for value, rle in rles.items()
        if value or value == ignored
    )
    return Annotation(height=values.shape[0], width=values.shape[1], segments=segments)


def _present(image: str, mask: str | None) -> str:
    if mask is None:
        raise DataError(f"{image} has no mask; add one with the same name")
    return mask


def _meaning(ignored: int) -> str:
    return "0 is background and 255 ignore" if ignored == IGNORE_INDEX else f"{ignored} is without label"


def _binary(values: np.ndarray, lossless: bool, mask: str) -> np.ndarray:
    """Foreground of a binary mask: 0/255 (above 127, also from JPEG), or exactly one other value as 0/1 masks have.

    Raises:
        DataError: it has areas of other values, which may be objects, and which the threshold would lose.
    """
    present = np.unique(values)
    nonzero = present[present > 0]
    if lossless and nonzero.size == 1:
        return values > 0
    if nonzero.size and nonzero[-1] <= BINARY_THRESHOLD:
        shown, found = nonzero[:8].tolist(), "and none above 127"
    elif lossless and nonzero.size and (areas := _areas_below_threshold(values)):
        shown, found = areas[:8], "in whole areas beside brighter ones (colours count by their brightness)"
    else:
        return values > BINARY_THRESHOLD
    raise DataError(
        f"{mask} has the values {shown} {found}; name the classes if these are labels, or give a mask of 0 and 255"
    )


def _areas_below_threshold(values: np.ndarray) -> list[int]:
    """Values from 1 to the threshold that fill squares of three pixels, which the soft edges of a mask do not.

    In files of many values, which have been JPEG, the dark ones are left alone: blocks of nothing have some of them.
    """
    low = (values > 0) & (values <= BINARY_THRESHOLD)
    if not low.any():
        return []
    flat = low[1:-1, 1:-1].copy()
    height, width = flat.shape
    for down, across in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        flat &= values[down : down + height, across : across + width] == values[1:-1, 1:-1]
    found: list[int] = np.unique(values[1:-1, 1:-1][flat]).tolist()
    is_soft = np.unique(values).size > MOST_LABELS
    return [value for value in found if value > DARK or not is_soft]
