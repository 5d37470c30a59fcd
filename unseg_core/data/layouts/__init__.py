"""Layouts by name. Adding one is one file and one line in LAYOUTS."""

from __future__ import annotations

import json
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


CLASSES_FILE = "classes.json"
BINARY = ("object",)

LAYOUTS: dict[str, Callable[[str, tuple[str, ...], str | None], PairsLayout]] = {
    "folder": lambda root, classes, masks: open_pairs(root, classes=classes, masks=masks, naming=FOLDER),
    "hqseg": lambda root, classes, masks: open_pairs(root, classes=classes, masks=masks, naming=HQSEG),
}

DESCRIPTIONS = {
    "folder": "images/ and masks/ with the same names (PNG or JPEG); classes.json names the classes of label maps",
    "hqseg": "im/NAME.jpg and gt/NAME.png, as HQSeg-44K",
}


def open_layout(name: str, root: str, *, classes: Sequence[str] | None = None, masks: str | None = None) -> Layout:
    """Open a data set.

    Args:
        name: a name in LAYOUTS, or "auto" to go by the folders that are there.
        root: folder or URL.
        classes: names of the classes 1, 2, ... of label maps; one name means binary masks. None: as the data set's own
            classes.json says ({"0": "background", "1": NAME, ...}), binary without one.
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
    return LAYOUTS[name](root, tuple(classes) if classes else read_classes(root), masks)


def read_classes(root: str) -> tuple[str, ...]:
    """Class names from classes.json, or one binary class.

    Raises:
        DataError: the file is not a mapping of "0", "1", ... to names.
    """
    location = storage.join(root, CLASSES_FILE)
    if not storage.exists(location):
        return BINARY
    try:
        names = json.loads(storage.read_file(location))
        return tuple(str(names[str(number)]) for number in range(1, len(names)))
    except (ValueError, KeyError, TypeError):
        raise DataError(f'{location} is not a mapping of "0", "1", ... to class names; correct or remove it') from None


def detect_layout(root: str) -> str:
    """`hqseg` where there are im/ and gt/, else `folder`."""
    return "hqseg" if all(storage.is_folder(storage.join(root, part)) for part in ("im", "gt")) else "folder"
