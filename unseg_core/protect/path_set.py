"""A set of millions of paths in eight bytes each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class PathSet:
    """Remembers 64-bit hashes: of a million paths asked of a million, one in 10^7 such sets gives a wrong answer.

    Python's hash of text is keyed anew in every process, so nobody can choose paths that collide.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        hashes = np.fromiter((hash(path) for path in paths), dtype=np.int64)
        hashes.sort()
        self.hashes = hashes
        repeated = hashes[1:][hashes[1:] == hashes[:-1]]
        self.repeated = frozenset(repeated.tolist())

    def __len__(self) -> int:
        """Paths given, each as often as it was given."""
        return int(self.hashes.size)

    def __contains__(self, path: str) -> bool:
        place = int(np.searchsorted(self.hashes, hash(path)))
        return place < self.hashes.size and int(self.hashes[place]) == hash(path)

    def is_repeated(self, path: str) -> bool:
        """True if the path was given more than once."""
        return bool(self.repeated) and hash(path) in self.repeated
