"""Downloads: from any URL that fsspec knows, or a local path, into a local file.

A download that broke is continued, a finished one is checked, and the file is there whole or not at all. Beside the
target lie the partial file and a note on which version of the source it is a part of; later a receipt of that version.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from unseg_core.errors import DataError
from unseg_core.progress import progress
from unseg_core.remote_file import ConnectionBrokenError, FileVersion, NoRangesError, RemoteFile, public_url
from unseg_core.storage import TEMPORARY_PREFIX, write_file

BLOCK = 8 * 2**20
"""Bytes that are asked for, and held in memory, at a time."""
SMALLEST_BLOCK = 2**18
ATTEMPTS = 6
LONGEST_WAIT = 30.0
DIGEST = re.compile(r"(?:sha256:[0-9a-f]{6,64}|md5:[0-9a-f]{6,32})")


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One download."""

    url: str
    target: Path
    digest: str | None
    max_bytes: int
    attempts: int
    stop: threading.Event

    @property
    def label(self) -> str:
        return public_url(self.url)

    @property
    def partial(self) -> Path:
        return self.target.parent / f"{TEMPORARY_PREFIX}{self.target.name}.part"

    @property
    def note(self) -> Path:
        """Which version `partial` is a part of."""
        return self.target.parent / f"{TEMPORARY_PREFIX}{self.target.name}.part.json"

    @property
    def receipt(self) -> Path:
        """Which version `target` is."""
        return self.target.parent / f"{TEMPORARY_PREFIX}{self.target.name}.json"


def download(
    url: str,
    target: Path,
    *,
    digest: str | None,
    max_bytes: int,
    attempts: int = ATTEMPTS,
    stop: threading.Event | None = None,
) -> str:
    """Fetch `url` into `target` unless it is there already, and return its sha256.

    A file that is there with the right digest is not asked for again. Without a digest it is kept if the source says
    that it has not changed since.

    Args:
        url: URL of any scheme that fsspec knows, or a local path.
        digest: "sha256:HEX" or "md5:HEX"; the first six digits or more.
        max_bytes: a larger file is refused.
        attempts: how many in a row may fail without a byte received.
        stop: once set, by another thread, the download ends at the next block.

    Raises:
        DataError: there is no such file, it is too large or not the one expected, the connection keeps breaking, or it
            was stopped.
    """
    if digest is not None and not is_digest(digest):
        raise DataError(f"{digest!r} is no digest; write sha256:HEX or md5:HEX with at least six digits")
    stop = stop or threading.Event()
    job = _Job(url=url, target=target, digest=digest, max_bytes=max_bytes, attempts=attempts, stop=stop)
    try:
        if digest is None or not has_digest(target, digest):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _exclusive(job.partial) as file:
                _fetch_unless_there(job, file)
        return file_digest(target, "sha256")
    except OSError as error:
        # What goes wrong at the source has other errors.
        raise DataError(f"{target} cannot be written ({error.strerror or error}); make room for it") from None


def file_digest(path: Path, algorithm: str) -> str:
    """Hex digest of a local file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def is_digest(text: str) -> bool:
    """True for `sha256:HEX` and `md5:HEX` with at least six digits."""
    return DIGEST.fullmatch(text) is not None


def has_digest(path: Path, digest: str) -> bool:
    """True if there is such a file and its digest begins like this."""
    algorithm, _, expected = digest.partition(":")
    return path.is_file() and file_digest(path, algorithm).startswith(expected)


@contextlib.contextmanager
def _exclusive(partial: Path) -> Iterator[BinaryIO]:
    """The partial file, for this process alone: a second download of the same file waits for the first."""
    while True:
        with partial.open("ab+") as file:
            # Some platforms and network file systems have no locks.
            with contextlib.suppress(ImportError, OSError):
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_still(partial, file):
                continue
            try:
                yield file
            finally:
                if _is_still(partial, file) and _length(file) == 0:
                    partial.unlink()
            return


def _is_still(path: Path, file: BinaryIO) -> bool:
    """False once another process has renamed or removed the file that we hold."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _fetch_unless_there(job: _Job, file: BinaryIO) -> None:
    """Asked again under the lock: another process may have fetched it meanwhile."""
    if job.digest is not None and has_digest(job.target, job.digest):
        return
    source = RemoteFile(job.url)
    if not _fetch(job, source, file):
        return
    if job.digest is not None and not has_digest(job.partial, job.digest):
        algorithm = job.digest.partition(":")[0]
        got = file_digest(job.partial, algorithm)
        # Continuing a wrong file would never make it right.
        job.partial.unlink()
        raise DataError(f"{job.label} is {algorithm}:{got} instead of {job.digest}; try again or name another location")
    os.replace(job.partial, job.target)
    os.replace(job.note, job.receipt)


def _fetch(job: _Job, source: RemoteFile, file: BinaryIO) -> bool:
    """Fill `file`, continuing from what it holds, until it is whole; False if the target is the same file already."""
    ranges, failures = True, 0
    while True:
        start = _length(file)
        _check_not_stopped(job)
        try:
            version = source.version()
            if _is_kept(job, version):
                return False
            if version.size is not None and version.size > job.max_bytes:
                raise DataError(f"{job.label} has {version.size} bytes; at most {job.max_bytes} are expected here")
            start = _prepare(job, file, version, ranges=ranges)
            block = max(BLOCK >> failures, SMALLEST_BLOCK)
            _copy(job, source, file, version, block_size=block if ranges else 0)
            return True
        except NoRangesError as error:
            if not ranges:
                raise DataError(f"{job.label} cannot be read ({error}); check the address") from None
            ranges = False
        except ConnectionBrokenError as error:
            # A server without ranges begins anew each time, so what it sent is no progress.
            failures = 1 if ranges and _length(file) > start else failures + 1
            if failures >= job.attempts:
                message = f"{job.label}: the connection keeps breaking ({error}); the same command continues"
                raise DataError(message) from None
            job.stop.wait(min(0.25 * 2**failures, LONGEST_WAIT))


def _check_not_stopped(job: _Job) -> None:
    if job.stop.is_set():
        raise DataError(f"{job.label} was stopped; the same command continues")


def _is_kept(job: _Job, version: FileVersion) -> bool:
    """True if the target is this version of the source; only asked where no digest says so."""
    there = job.digest is None and job.target.is_file() and job.target.stat().st_size == version.size
    return there and bool(version.mark) and version == _read_note(job.receipt)


def _prepare(job: _Job, file: BinaryIO, version: FileVersion, *, ranges: bool) -> int:
    """Keep what `file` holds if it is a part of this version, or empty it; returns how much it holds."""
    length = _length(file)
    same = version == _read_note(job.note) and version.size is not None and length <= version.size
    checked = bool(version.mark) or job.digest is not None
    if length and ranges and same and checked:
        return length
    file.truncate(0)
    write_file(str(job.note), json.dumps(asdict(version)).encode())
    return 0


def _length(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _read_note(note: Path) -> FileVersion | None:
    try:
        return FileVersion(**json.loads(note.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _copy(job: _Job, source: RemoteFile, file: BinaryIO, version: FileVersion, *, block_size: int) -> None:
    """Append what is missing, a block at a time."""
    offset = _length(file)
    stream = source.open(offset, block_size=block_size)
    with contextlib.closing(stream), _shown(job.target.name, version, offset) as show:
        while offset != version.size:
            with source.reading():
                block = stream.read(block_size or BLOCK)
            if not block:
                break
            offset += len(block)
            if offset > job.max_bytes:
                raise DataError(f"{job.label} has more than the {job.max_bytes} bytes that are expected here")
            file.write(block)
            file.flush()
            show(len(block))
            _check_not_stopped(job)
    if version.size is not None and offset != version.size:
        raise ConnectionBrokenError(f"it ended after {offset} of {version.size} bytes")


@contextlib.contextmanager
def _shown(name: str, version: FileVersion, offset: int) -> Iterator[Callable[[int], None]]:
    """Progress in megabytes of what is left; small files and those of unknown length pass silently."""
    left = (version.size or 0) - offset
    if left <= BLOCK:
        yield lambda count: None
        return
    received = 0
    with progress(f"download {name}", left // 10**6, "MB") as advance:

        def add(count: int) -> None:
            nonlocal received
            before, received = received, received + count
            advance(received // 10**6 - before // 10**6)

        yield add
