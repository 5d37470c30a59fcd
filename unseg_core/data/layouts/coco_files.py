"""Several COCO JSON files as one data set: which of them, their categories together, and where their images lie."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from unseg_core import storage
from unseg_core.data.layouts.coco_file import Category, CocoFile, ImageEntry, is_inside, read_coco_file
from unseg_core.data.layouts.layout import Request, below
from unseg_core.data.layouts.splits import unknown_split
from unseg_core.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A JSON file and the images of it that are there."""

    file: CocoFile
    images: tuple[tuple[ImageEntry, str], ...]
    """Each with its path below the root."""
    missing: tuple[str, ...]
    """File names that are not there."""


@dataclass(frozen=True, kw_only=True)
class CocoFiles:
    """The JSON files of a data set."""

    root: str
    parts: tuple[Placed, ...]
    categories: tuple[Category, ...]
    """In the order of their ids."""

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(category.name for category in self.categories)

    @property
    def class_ids(self) -> tuple[int, ...]:
        return tuple(category.id for category in self.categories)

    @cached_property
    def positions(self) -> Mapping[int, tuple[int, bool]]:
        """Category id -> position in the classes from 1, and whether it is a thing."""
        return {category.id: (i, category.is_thing) for i, category in enumerate(self.categories, start=1)}

    def orphans(self) -> list[str]:
        """Images that are named and not there, and annotations of images that are not named."""
        found = [f"{part.file.path}: {name}" for part in self.parts for name in part.missing]
        for part in self.parts:
            known = {entry.id for entry in part.file.images}
            annotated = [*part.file.instances, *part.file.panoptic]
            found += [f"{part.file.path}: annotation of image {one}" for one in annotated if one not in known]
        return found


@dataclass(frozen=True, kw_only=True)
class JsonLayout:
    """What layouts that are described by such files have in common."""

    name: str
    files: CocoFiles

    @property
    def root(self) -> str:
        return self.files.root

    @property
    def classes(self) -> tuple[str, ...]:
        return self.files.classes

    @property
    def class_ids(self) -> tuple[int, ...]:
        return self.files.class_ids

    def orphans(self) -> list[str]:
        return self.files.orphans()


def open_coco_files(request: Request, paths: Iterable[str], listing: Collection[str]) -> CocoFiles:
    """Read the JSON files of a split, and find their images in the listing of the root.

    Raises:
        DataError: a file is damaged, names a path that leaves the data set, or none of its images is there; two files
            name the same image or mean different things by one category.
        ParameterError: there is no such split.
    """
    files = [read_coco_file(request.root, path) for path in paths]
    chosen = [file for file in files if request.split is None or request.split in file.splits]
    if request.split is not None and not chosen:
        raise unknown_split(request.root, request.split, sorted({file.split for file in files}))
    placed = tuple(place_images(request.root, file, listing) for file in chosen)
    check_unique(placed)
    return CocoFiles(root=request.root, parts=placed, categories=merge_categories(chosen))


def place_images(root: str, file: CocoFile, listing: Collection[str]) -> Placed:
    """Find the images of a JSON file; a copy may have them as PNG (`image_format: png`)."""
    names = [member(root, file.path, entry.file_name) for entry in file.images]
    folder = best_folder(names, [*image_folders(file), *only_folder(names, listing)], listing)
    paths = [find(below(folder, name), listing) for name in names]
    images = tuple((entry, path) for entry, path in zip(file.images, paths, strict=True) if path is not None)
    if names and not images:
        raise DataError(f"{root} has none of the {len(names)} images of {file.path}, as {names[0]}; add them")
    missing = tuple(name for name, path in zip(names, paths, strict=True) if path is None)
    return Placed(file=file, images=images, missing=missing)


def only_folder(names: Sequence[str], listing: Collection[str]) -> list[str]:
    """The folder that the first of the images lies in, if there is just one of that name."""
    found = [path for path in listing if names and path.endswith(f"/{names[0]}")]
    return [found[0].removesuffix(f"/{names[0]}")] if len(found) == 1 else []


def find(path: str, listing: Collection[str]) -> str | None:
    """The path as it is listed: itself, or as PNG."""
    return next((one for one in (path, f"{sample_id(path)}.png") if one in listing), None)


def image_folders(file: CocoFile) -> list[str]:
    """Where the images of a JSON file may lie, the usual first: COCO's SPLIT/, RSPrompter's imgs/, beside it."""
    split = file.split
    usual = [split, f"images/{split}", f"imgs/{split}", f"{split}/images", f"imgs/{split}/image"]
    if is_inside(file.path):
        beside = PurePosixPath(file.path).parent.as_posix()
        usual += ["" if beside == "." else beside, f"{beside}/images"]
    return [*usual, "", "images", "imgs", "JPEGImages", "positive image set"]


def best_folder(names: Sequence[str], folders: Sequence[str], listing: Collection[str]) -> str:
    """The first of the folders that holds all of the names, or else most of them."""
    most, best = -1, folders[0]
    for folder in folders:
        hits = sum(find(below(folder, name), listing) is not None for name in names)
        if hits == len(names):
            return folder
        if hits > most:
            most, best = hits, folder
    return best


def member(root: str, path: str, name: Any) -> str:
    """A file name of an annotation file, in its plain form.

    Raises:
        DataError: it is none, or leaves the data set.
    """
    if not isinstance(name, str) or not name:
        raise DataError(f"{path} has the file name {name!r}; correct it")
    try:
        storage.join(root, name)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return PurePosixPath(name).as_posix()


def check_unique(parts: Sequence[Placed]) -> None:
    """Refuse images that two entries name, and images that differ in their extension only."""
    found: dict[str, str] = {}
    for part in parts:
        for _, path in part.images:
            one = sample_id(path)
            if one in found:
                raise DataError(
                    f"{part.file.path}: {path} is named twice, first in {found[one]} (extensions do not count); "
                    "choose one file (--split or --annotations) or rename the image"
                )
            found[one] = part.file.path


def sample_id(path: str) -> str:
    """The path without extension, so that a copy in another format has the same."""
    return PurePosixPath(path).with_suffix("").as_posix()


def merge_categories(files: Sequence[CocoFile]) -> tuple[Category, ...]:
    """The categories of all files in the order of their ids.

    Raises:
        DataError: two files mean different things by one id.
    """
    found: dict[int, Category] = {}
    for file in files:
        for category in file.categories:
            known = found.setdefault(category.id, category)
            if known != category:
                names = f"{known.name!r} and {category.name!r}"
                raise DataError(f"{file.path}: category {category.id} is {names} in two files; choose one (--split)")
    return tuple(found[number] for number in sorted(found))


def matching(listing: Iterable[str], pattern: str) -> list[str]:
    """The paths that match a regular expression as a whole, sorted."""
    return sorted(path for path in listing if re.fullmatch(pattern, path))
