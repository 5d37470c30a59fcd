"""Pictures that a copy takes over as they are: of no sample, in no format we read, or in videos and archives.

Whoever gives the copy away should know of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from unseg_core.data.layouts import Layout
from unseg_core.images import EXTENSIONS, SUFFIXES
from unseg_core.protect.path_set import PathSet

NOT_READ = frozenset({
    ".arw", ".avif", ".cr2", ".cr3", ".dcm", ".dng", ".gif", ".heic", ".heif", ".j2k", ".jp2", ".jpe", ".jxl", ".nef",
    ".pbm", ".pgm", ".pnm", ".ppm", ".psd", ".tga",
    ".avi", ".mkv", ".mov", ".mp4", ".webm",
    ".7z", ".bz2", ".gz", ".h5", ".hdf5", ".lmdb", ".mat", ".mdb", ".npy", ".npz", ".parquet", ".pickle", ".pkl",
    ".rar", ".tar", ".tfrecord", ".tfrecords", ".tgz", ".xz", ".zarr", ".zip", ".zst",
})  # fmt: skip
"""Pictures, videos, and what may hold either, as the archive that a data set was unpacked from."""
LOSSY = frozenset({*SUFFIXES["jpeg"], *SUFFIXES["webp"]})
"""Endings of what no labels are kept in, but for binary masks."""
NAMED = 20


@dataclass
class OtherPictures:
    """Sees the paths that a copy takes over unchanged, one at a time, and counts the pictures among them."""

    folders: set[str]
    """Those that images lie in."""
    annotated: set[str]
    """Those that files of samples lie in, where other files may be masks as well."""
    annotations: PathSet
    """Files of samples, such as masks, which may lie beside the images."""
    count: int = 0
    named: list[str] = field(default_factory=list)
    """The first NAMED."""

    @classmethod
    def of(cls, layout: Layout) -> OtherPictures:
        """After one pass over its samples, which may be a listing of a bucket."""
        folders, annotated = set[str](), set[str]()

        def annotations() -> Iterator[str]:
            for sample in layout.samples():
                folders.add(_folder(sample.image))
                annotated.update(map(_folder, sample.files))
                yield from sample.files

        return cls(annotations=PathSet(annotations()), folders=folders, annotated=annotated)

    def see(self, path: str) -> None:
        """Counts it if it is a picture or may hold some. PNG and the like that lie elsewhere may be labels."""
        suffix, folder = PurePosixPath(path).suffix.lower(), _folder(path)
        is_beside = suffix in EXTENSIONS and folder in self.folders
        is_photograph = suffix in LOSSY and folder not in self.annotated
        if (suffix in NOT_READ or is_beside or is_photograph) and path not in self.annotations:
            self.count += 1
            if self.count <= NAMED:
                self.named.append(path)

    def seeing(self, paths: Iterable[str]) -> Iterator[str]:
        """The same paths, each seen when it is asked for."""
        for path in paths:
            self.see(path)
            yield path

    def summary(self) -> dict[str, object]:
        """How many there are, and the first NAMED."""
        return {"count": self.count, "named": list(self.named)}


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
