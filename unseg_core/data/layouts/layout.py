"""What every layout is, and what a user may say when opening one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from unseg_core import storage
from unseg_core.data.sample import Sample

Option = Literal["classes", "masks", "annotations"]


class Layout(Protocol):
    """A data set in one official folder layout.

    Its copy is mirrored by the images' names alone: every other file is carried over as it is.
    """

    @property
    def name(self) -> str:
        """In LAYOUTS."""
        ...

    @property
    def root(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the categories 1, 2, ..."""
        ...

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The numbers that the data set's own files use for them."""
        ...

    def samples(self) -> Iterator[Sample]:
        """All samples in a stable order, one at a time."""
        ...

    def orphans(self) -> Sequence[str]:
        """Annotations without an image: where they are and which."""
        ...


@dataclass(frozen=True, kw_only=True)
class Request:
    """How a data set is to be opened."""

    root: str
    """Folder or URL."""
    classes: tuple[str, ...] = ()
    """Empty: the layout's own."""
    masks: str | None = None
    """Folder or URL of the masks, if not in the layout's own folder."""
    split: str | None = None
    """None: all splits."""
    annotations: str | None = None
    """A COCO JSON file: below the root, or anywhere."""
    whole: bool = False
    """Masks are not needed: where there are none, the whole image is one object."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An entry of the registry."""

    open: Callable[[Request], Layout]
    """Raises DataError if the data set is not in this layout, ParameterError for an unknown split."""
    detect: Callable[[str], bool]
    """Whether the folders below a root are this layout's; looks at a few names only."""
    description: str
    options: frozenset[Option] = frozenset()
    """What of a request this layout takes, besides root and split."""


def first_base(root: str, bases: Sequence[str], *members: str) -> str | None:
    """The first of the folders `bases` ("" is the root itself) that has all `members` as folders; None without one."""
    for base in bases:
        folder = storage.join(root, base) if base else root
        if all(storage.is_folder(storage.join(folder, member)) for member in members):
            return base
    return None


def path_inside(root: str, location: str) -> str | None:
    """The path of a location below the root, "." for the root itself; None if it lies elsewhere."""
    if storage.is_remote(root) or storage.is_remote(location):
        start, whole = f"{root.rstrip('/')}/", f"{location.rstrip('/')}/"
        return (whole.removeprefix(start).rstrip("/") or ".") if whole.startswith(start) else None
    path, folder = storage.local_path(location).resolve(), storage.local_path(root).resolve()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else None


def below(base: str, path: str) -> str:
    """`path` of a member of the folder `base`, where "" is the root."""
    return f"{base}/{path}" if base else path
