"""Is this the protected copy of that data set? Asked before a comparison is made of the two."""

from __future__ import annotations

from collections.abc import Sequence

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.errors import DataError
from unseg_core.protect.manifest import open_manifest, settings_from

NAMED = 3
"""So many of what differs are named."""


def check_copy(original: Layout, copy: Layout, images: Sequence[str]) -> None:
    """Compare classes, ids and, for the original's `images`, the files that the copy was made from.

    Raises:
        ManifestError: it has no complete manifest.
        DataError: it is the copy of something else.
    """
    summary, lines = open_manifest(copy.root)
    _check_classes(copy.root, copy.classes, original)
    ids, sources = list[str](), dict[str, str | None]()
    for line in lines:
        ids.append(line.id)
        sources[line.image] = line.source_sha256
    check_manifest(copy.root, original, settings_from(summary["settings"]).classes, ids)
    for image in images:
        wanted = sources.get(image)
        if wanted is not None and storage.sha256_of(storage.join(original.root, image)) != wanted:
            raise DataError(
                f"{copy.root} was made from another file than {original.root}/{image}; protect the data set again"
            )


def check_manifest(copy: str, original: Layout, classes: Sequence[str], ids: Sequence[str]) -> None:
    """Compare the classes and the ids that the manifest below `copy` has.

    Raises:
        DataError: it is the copy of something else.
    """
    _check_classes(f"the manifest of {copy}", classes, original)
    own, listed = {sample.id for sample in original.samples()}, set(ids)
    if own != listed:
        missing, foreign = sorted(own - listed), sorted(listed - own)
        parts = [f"lacks {_some(missing)}"] if missing else []
        parts += [f"lists {_some(foreign)}, which the original has not"] if foreign else []
        raise DataError(
            f"{copy} is no copy of {original.root}: its manifest {' and '.join(parts)}; "
            "protect the data set again, or name the original that it was made from"
        )


def _check_classes(where: str, classes: Sequence[str], original: Layout) -> None:
    if classes and tuple(classes) != tuple(original.classes):
        raise DataError(
            f"{where} has the classes {_some(classes)} but {original.root} has {_some(original.classes)}; "
            "protect the data set again, or name the same classes"
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(str, names[:NAMED])) or "none"
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown
