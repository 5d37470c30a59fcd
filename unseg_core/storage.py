"""The one place that knows fsspec. A location is a local path, or a URL with `://`.

Writes are atomic: a local file appears by rename, an object when its upload is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from unseg_core.errors import DataError

TEMPORARY_PREFIX = ".unseg-"


def is_url(location: str) -> bool:
    return "://" in location


def join(root: str, *parts: str) -> str:
    """Path of a member; a part may not leave `root`.

    Raises:
        DataError: a part is absolute or contains `..`.
    """
    for part in parts:
        pure = PurePosixPath(part)
        if pure.is_absolute() or ".." in pure.parts:
            raise DataError(f"{part!r} leaves the data set {root}; correct the entry that names it")
    return "/".join([root.rstrip("/") or "/", *parts]) if is_url(root) else str(Path(root, *parts))


def _remote(location: str) -> tuple[Any, str]:
    filesystem, path = fsspec.core.url_to_fs(location)
    return filesystem, path


def read_file(location: str) -> bytes:
    """All bytes of a file.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    try:
        if not is_url(location):
            return Path(location).read_bytes()
        filesystem, path = _remote(location)
        return bytes(filesystem.cat_file(path))
    except FileNotFoundError:
        raise DataError(f"{location} does not exist; check the path") from None
    except OSError as error:
        raise DataError(f"{location} cannot be read ({error.strerror or error}); check its permissions") from None


def write_file(location: str, data: bytes) -> None:
    """Write a file so that it is either there whole or not at all; its folder is made."""
    if is_url(location):
        filesystem, path = _remote(location)
        filesystem.pipe_file(path, data)
        return
    target = Path(location)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def exists(location: str) -> bool:
    if not is_url(location):
        return Path(location).exists()
    filesystem, path = _remote(location)
    return bool(filesystem.exists(path))


def is_folder(location: str) -> bool:
    if not is_url(location):
        return Path(location).is_dir()
    filesystem, path = _remote(location)
    return bool(filesystem.isdir(path))


def list_files(root: str) -> Iterator[str]:
    """Relative POSIX paths of all files below `root`, sorted; our temporary files are left out.

    Raises:
        DataError: `root` is no folder.
    """
    if not is_folder(root):
        raise DataError(f"{root} is not a folder; check the path")
    yield from (path for path in _walk(root) if not PurePosixPath(path).name.startswith(TEMPORARY_PREFIX))


def _walk(root: str) -> Iterator[str]:
    if is_url(root):
        filesystem, path = _remote(root)
        yield from sorted(str(PurePosixPath(found).relative_to(path)) for found in filesystem.find(path))
        return
    for folder, subfolders, files in os.walk(root):
        subfolders.sort()
        relative = Path(folder).relative_to(root)
        yield from ((relative / name).as_posix() for name in sorted(files))


def size_of(location: str) -> int:
    """Bytes of a file."""
    if not is_url(location):
        return Path(location).stat().st_size
    filesystem, path = _remote(location)
    return int(filesystem.size(path))


def copy_file(source: str, target: str) -> None:
    """Copy one file, atomically at the target."""
    write_file(target, read_file(source))


def sha256_of(location: str) -> str:
    """sha256 of a file's bytes."""
    return hashlib.sha256(read_file(location)).hexdigest()


def remove_folder(path: Path) -> None:
    """Remove a local folder if it is there."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def replace_folder(source: Path, target: Path) -> None:
    """Move a finished local folder into its place, over an older one."""
    remove_folder(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)
