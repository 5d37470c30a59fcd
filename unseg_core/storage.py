"""Files by location: a local path, or a URL with `://` (remote_store.py is the place that knows fsspec).

Writes are atomic: a local file appears by rename, an object when its upload is complete.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from unseg_core import remote_store
from unseg_core.errors import DataError, StorageError
from unseg_core.remote_file import public_url

TEMPORARY_PREFIX = ".unseg-"
CHUNK = 1 << 20
SMALL = 8 << 20
"""Bytes; larger files pass through a temporary file on their way to or from a URL."""

_numbers = itertools.count()
_passing = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE}
"""Errors that are not the file's own."""


def is_url(location: str) -> bool:
    return "://" in location


def is_remote(location: str) -> bool:
    """True for what is behind a server: a URL other than file://."""
    return is_url(location) and not location.startswith("file://")


def local_path(location: str) -> Path:
    """The path of a local location, written as one or as file://."""
    return Path(unquote(location.removeprefix("file://")) if location.startswith("file://") else location)


def _name(location: str) -> str:
    """As local_path, as text: this is called several times an image."""
    return str(local_path(location)) if location.startswith("file://") else location


def join(root: str, *parts: str) -> str:
    """Path of a member; a part may not leave `root`.

    Raises:
        DataError: a part is absolute or contains `..`.
    """
    for part in parts:
        if part.startswith("/") or ".." in part.split("/"):
            raise DataError(f"{part!r} leaves the data set {root}; correct the entry that names it")
    if is_remote(root):
        return "/".join([root.rstrip("/"), *parts])
    return os.path.join(_name(root), *parts)


def read_file(location: str) -> bytes:
    """All bytes of a file.

    Raises:
        DataError: there is no such file, or it cannot be read.
        StorageError: the disk or server is to blame.
    """
    try:
        if is_remote(location):
            return remote_store.read(location)
        with open(_name(location), "rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        raise _absent(location) from None
    except OSError as error:
        raise _unreadable(location, error) from None


def _absent(location: str) -> DataError:
    if not is_remote(location) and os.path.islink(_name(location)):
        return DataError(f"{location} is a link to nothing; remove it")
    return DataError(f"{public_url(location)} does not exist; check the path")


def _unreadable(location: str, error: OSError) -> DataError:
    kind = StorageError if error.errno in _passing else DataError
    return kind(f"{location} cannot be read ({error.strerror or error}); check its permissions")


def _unwritable(location: str, error: OSError) -> StorageError:
    reason = error.strerror or str(error)
    return StorageError(f"{location} cannot be written ({reason}); make room or access, the same command continues")


def write_file(location: str, data: bytes, *, scratch: str | None = None) -> None:
    """Write a file so that it is either there whole or not at all; its folder is made.

    Args:
        scratch: an existing folder of the same disk for the temporary file, instead of the file's own folder.

    Raises:
        StorageError: the disk is full, the target read-only, or the server does not answer.
    """
    if is_remote(location):
        remote_store.write(location, data)
        return
    with _appearing(_name(location), scratch) as temporary:
        descriptor = _create(temporary)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def open_writer(location: str, *, scratch: str | None = None) -> Iterator[IO[bytes]]:
    """A binary file that appears at `location` when the block ends without an error, and never in part.

    Raises:
        StorageError: as write_file.
    """
    if is_remote(location):
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
            spool = os.path.join(folder, "spool")
            with open(spool, "wb") as file:
                yield file
            remote_store.upload(spool, location)
        return
    with _appearing(_name(location), scratch) as temporary, os.fdopen(_create(temporary), "wb") as file:
        yield file


@contextlib.contextmanager
def _appearing(target: str, scratch: str | None) -> Iterator[str]:
    """The name of a temporary file, which becomes `target` if the block ends without an error."""
    folder = scratch or os.path.dirname(target)
    temporary = os.path.join(folder, f"{TEMPORARY_PREFIX}{os.getpid()}-{next(_numbers)}-{os.urandom(4).hex()}")
    try:
        yield temporary
        _rename(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise _unwritable(target, error) from None
        raise


def _create(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)


def _rename(temporary: str, target: str) -> None:
    try:
        os.replace(temporary, target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(temporary, target)


def exists(location: str) -> bool:
    if not is_remote(location):
        return os.path.exists(_name(location))
    return remote_store.info(location) is not None


def is_folder(location: str) -> bool:
    if not is_remote(location):
        return local_path(location).is_dir()
    found = remote_store.info(location)
    return found is not None and found.get("type") == "directory"


def members(location: str) -> list[str]:
    """Names in a folder, sorted; none if it is not there.

    Raises:
        DataError: a name is not UTF-8.
    """
    if is_remote(location):
        return [entry.name for entry in remote_store.entries(location)]
    path = local_path(location)
    return sorted(_utf8(location, name) for name in os.listdir(path)) if path.is_dir() else []


def _utf8(root: str, path: str) -> str:
    """Manifests and journals are UTF-8; a disk may have any bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(f"{os.fsencode(path)!r} below {root} has a name that is not UTF-8; rename it") from None
    return path


def list_files(root: str) -> Iterator[str]:
    """Relative POSIX paths of all files below `root`; our temporary files and folders are left out.

    The order is the same for folders and URLs: a folder's files before its subfolders, each sorted by name. Linked
    folders are followed.

    Raises:
        DataError: `root` is no folder, a link leads back to a folder above it, or a name is not UTF-8.
    """
    if not is_folder(root):
        raise DataError(f"{public_url(root)} is not a folder; check the path")
    found = (path for path, _ in remote_store.walk(root)) if is_remote(root) else _walk(str(local_path(root)), "", ())
    yield from (_utf8(root, path) for path in found if not _is_ours(path))


def list_sizes(root: str) -> Iterator[tuple[str, int]]:
    """As list_files, with the sizes in bytes."""
    if is_remote(root):
        yield from ((path, size) for path, size in remote_store.walk(root) if not _is_ours(path))
    else:
        yield from ((path, _size(join(root, path))) for path in list_files(root))


def _is_ours(path: str) -> bool:
    return path.startswith(TEMPORARY_PREFIX) or f"/{TEMPORARY_PREFIX}" in path


def _walk(root: str, below: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """`above`: device and inode of the folders on the way here, since a link may lead back to one."""
    here = os.path.join(root, below)
    stat = os.stat(here)
    if (stat.st_dev, stat.st_ino) in above:
        raise DataError(f"{here} is a link to a folder above it; remove the link")
    prefix = f"{below}/" if below else ""
    with os.scandir(here) as scan:
        members = sorted((entry.name, entry.is_dir()) for entry in scan)
    yield from (prefix + name for name, is_dir in members if not is_dir)
    for name, is_dir in members:
        if is_dir:
            yield from _walk(root, prefix + name, (*above, (stat.st_dev, stat.st_ino)))


def _size(path: str) -> int:
    """0 for a link that leads nowhere: whoever reads it says so."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def size_of(location: str) -> int:
    """Bytes of a file.

    Raises:
        DataError: there is no such file.
    """
    if is_remote(location):
        found = remote_store.info(location)
        if found is None:
            raise _absent(location)
        return int(found.get("size") or 0)
    try:
        return local_path(location).stat().st_size
    except FileNotFoundError:
        raise _absent(location) from None


def copy_file(source: str, target: str, *, scratch: str | None = None) -> None:
    """Copy one file of any size, atomically at the target.

    Raises:
        DataError: the source cannot be read.
        StorageError: as write_file.
    """
    if is_remote(source) and size_of(source) <= SMALL:
        write_file(target, read_file(source), scratch=scratch)
        return
    with open_reader(source) as reader:
        chunk = reader.read(CHUNK)
        if len(chunk) < CHUNK:
            write_file(target, chunk, scratch=scratch)
            return
        with open_writer(target, scratch=scratch) as writer:
            while chunk:
                writer.write(chunk)
                chunk = reader.read(CHUNK)


@contextlib.contextmanager
def open_reader(location: str) -> Iterator[IO[bytes]]:
    """A file of any size, opened to be read from its start.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        path = str(location) if is_remote(location) else str(local_path(location))
        try:
            if is_remote(location):
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX))
                path = os.path.join(folder, "spool")
                remote_store.download(location, path)
            reader = stack.enter_context(open(path, "rb"))
        except FileNotFoundError:
            raise _absent(location) from None
        except OSError as error:
            raise _unreadable(location, error) from None
        yield reader


def sha256_of(location: str) -> str:
    """sha256 of a file's bytes."""
    with open_reader(location) as reader:
        digest = hashlib.sha256()
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()


def remove(location: str) -> None:
    """Remove a file, or a folder with everything in it, if it is there."""
    if is_remote(location):
        remote_store.remove(location)
        return
    path = local_path(location)
    if path.is_dir() and not path.is_symlink():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a local folder if it is there."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def replace_folder(source: Path, target: Path) -> None:
    """Move a finished local folder into its place, over an older one."""
    remove_folder(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)
