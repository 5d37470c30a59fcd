"""Where data sets come from: rendered, copied from a folder or URL, or fetched from the archives of HQSeg-44K."""

from __future__ import annotations

import hashlib
from pathlib import Path

from unseg_core import storage
from unseg_core.data.hqseg import fetch_hqseg
from unseg_core.data.layouts import open_layout
from unseg_core.data.scenes import write_scenes
from unseg_core.errors import DataError, ParameterError
from unseg_core.params import SourceParams
from unseg_core.progress import progress

SELF_CONTAINED = ("folder", "hqseg", "kvasir", "lung")
"""Layouts of which some images can be taken: nothing but an image and its own files is needed."""


def fetch_source(source: SourceParams, target: Path, *, data_root: Path | None, work: Path) -> int:
    """Bring one source into the local folder `target`, which appears when it is complete.

    Args:
        data_root: folder for relative paths (UNSEG_DATA); None if there is none.
        work: folder for what a restart continues from.

    Returns:
        Number of images.

    Raises:
        DataError: the source is missing, incomplete or not in its layout.
    """
    if source.kind == "hqseg":
        path = _location(source, data_root) if source.path else ""
        return fetch_hqseg(target, path=path, archives=source.archives, work=work)
    partial = target.with_name(f"{storage.TEMPORARY_PREFIX}{target.name}")
    storage.remove_folder(partial)
    if source.kind == "scenes":
        write_scenes(partial, count=source.count, size=source.size, seed=source.seed)
        count = source.count
    else:
        count = _copy_files(source, str(partial), data_root)
    storage.replace_folder(partial, target)
    return count


def _copy_files(source: SourceParams, target: str, data_root: Path | None) -> int:
    layout = open_layout(source.layout, _location(source, data_root))
    if source.count and layout.name not in SELF_CONTAINED:
        raise ParameterError(
            f"sources.*.count is {source.count}, but images of the layout {layout.name} share files that name all of "
            f"them; set count to 0, or use one of {', '.join(SELF_CONTAINED)}"
        )
    samples = sorted(layout.samples(), key=lambda s: hashlib.sha256(f"{source.seed}:{s.id}".encode()).digest())
    if source.count == 0:
        files = list(storage.list_files(layout.root))
    else:
        files = [path for sample in samples[: source.count] for path in (sample.image, *sample.files)]
    with progress("copy", len(files), "files") as advance:
        for path in files:
            storage.copy_file(storage.join(layout.root, path), storage.join(target, path))
            advance(1)
    return min(source.count or len(samples), len(samples))


def _location(source: SourceParams, data_root: Path | None) -> str:
    if storage.is_url(source.path) or Path(source.path).is_absolute():
        return source.path
    if data_root is None:
        raise DataError(f"no data root for {source.path!r}; set UNSEG_DATA to the folder that holds it")
    return str(data_root / source.path)
