"""What names a generator's file. Without torch, which takes seconds to load."""

from __future__ import annotations

from pathlib import Path

from unseg_core.errors import WeightsError
from unseg_core.storage import sha256_of


def generator_sha256(path: Path) -> str:
    """sha256 of a generator's file: what manifests name it by. Raises WeightsError if there is none."""
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; train a generator first or name another file")
    return sha256_of(str(path))
