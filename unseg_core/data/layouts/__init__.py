"""Layouts by name. Adding one is one file and one line in LAYOUTS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from unseg_core import storage
from unseg_core.data.layouts.pairs import FOLDER, HQSEG, PairsLayout, open_pairs
from unseg_core.data.sample import Sample
from unseg_core.errors import DataError, ParameterError


class Layout(Protocol):
    """A data set in one official folder layout."""

    @property
    def root(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    def samples(self) -> Iterator[Sample]:
        """All samples in a stable order, one at a time."""
        ...

    def orphans(self) -> Sequence[str]:
        """Annotations without an image, as paths below the root."""
        ...


LAYOUTS: dict[str, Callable[[str, tuple[str, ...], str | None], PairsLayout]] = {
    "folder": lambda root, classes, masks: open_pairs(root, classes=classes, masks=masks, naming=FOLDER),
    "hqseg": lambda root, classes, masks: open_pairs(root, classes=classes, masks=masks, naming=HQSEG),
}


def open_layout(name: str, root: str, *, classes: Sequence[str] = ("object",), masks: str | None = None) -> Layout:
    """Open a data set.

    Args:
        name: a name in LAYOUTS, or "auto" to go by the folders that are there.
        root: folder or URL.
        classes: names of the classes 1, 2, ... of label maps; one name means binary masks.
        masks: where the masks are, if not in the layout's own folder.

    Raises:
        ParameterError: unknown layout.
        DataError: the folders of the layout are not there.
    """
    if not storage.is_folder(root):
        raise DataError(f"{root} is not a folder; check the path")
    name = detect_layout(root) if name == "auto" else name
    if name not in LAYOUTS:
        raise ParameterError(f"layout {name!r} is unknown; choose auto or one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name](root, tuple(classes), masks)


def detect_layout(root: str) -> str:
    """`hqseg` where there are im/ and gt/, else `folder`."""
    return "hqseg" if all(storage.is_folder(storage.join(root, part)) for part in ("im", "gt")) else "folder"
