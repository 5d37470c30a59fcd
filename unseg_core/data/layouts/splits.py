"""Splits of data sets that keep images as files: a list of names, or the first folder of an id."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from unseg_core import storage
from unseg_core.errors import DataError, ParameterError
from unseg_core.images import EXTENSIONS


@dataclass(frozen=True, kw_only=True)
class Split:
    images: dict[str, str]
    """id -> path"""
    masks: dict[str, str]
    """id -> path"""
    missing: tuple[str, ...] = ()
    """Entries of the list that are not there."""


def choose_split(root: str, split: str | None, images: dict[str, str], masks: dict[str, str]) -> Split:
    """Images and masks of `split`: those that `split.txt` in the root lists, or whose id begins with `split/`.

    Raises:
        ParameterError: there is no such split.
        DataError: the list names a path that leaves the data set.
    """
    if split is None:
        return Split(images=images, masks=masks)
    if storage.exists(storage.join(root, f"{split}.txt")):
        return listed(root, f"{split}.txt", images, masks)
    return in_folder(root, split, images, masks)


def in_folder(root: str, split: str | None, images: dict[str, str], masks: dict[str, str]) -> Split:
    """Images and masks whose id begins with `split/`; all of them for None.

    Raises:
        ParameterError: there is no such image.
    """
    if split is None:
        return Split(images=images, masks=masks)
    chosen = {one: image for one, image in images.items() if one.startswith(f"{split}/")}
    if not chosen:
        known = sorted({one.split("/", 1)[0] for one in images if "/" in one})
        raise unknown_split(root, split, known)
    return Split(images=chosen, masks={one: mask for one, mask in masks.items() if one.startswith(f"{split}/")})


def unknown_split(root: str, split: str, known: Collection[str]) -> ParameterError:
    """The error for a split that is not there."""
    return ParameterError(f"{root} has no split {split!r}; it has {', '.join(known) or 'none'}")


def listed(root: str, path: str, images: dict[str, str], masks: dict[str, str]) -> Split:
    """Images and masks that a text file below the root names, one to a line, in the order of `images`.

    Raises:
        DataError: the list is no text, or names a path that leaves the data set.
    """
    names = _names(root, path)
    chosen = {one: image for one, image in images.items() if one in names}
    if not chosen:
        raise DataError(f"{storage.join(root, path)} names no image that is there; check the list")
    return Split(
        images=chosen,
        masks={one: mask for one, mask in masks.items() if one in names},
        missing=tuple(f"{path}: {name}" for name in sorted(names - chosen.keys())),
    )


def _names(root: str, path: str) -> set[str]:
    location = storage.join(root, path)
    try:
        lines = storage.read_file(location).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{location} is no UTF-8 text; give one name to a line") from None
    names = {line.strip() for line in lines} - {""}
    try:
        for name in names:
            storage.join(root, name)
    except DataError as error:
        raise DataError(f"{location}: {error}") from None
    return {_stem(name) for name in names}


def _stem(name: str) -> str:
    pure = PurePosixPath(name)
    return pure.with_suffix("").as_posix() if pure.suffix.lower() in EXTENSIONS else name
