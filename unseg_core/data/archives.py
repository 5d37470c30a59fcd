"""Safe unpacking of zip and tar archives that strangers made.

Nothing is written outside of the target folder, no links and no devices are made, and neither the number of members nor
what they hold may pass the limits. Members are regular files with relative names, or the whole archive is refused.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unseg_core import storage
from unseg_core.data.archive_members import BLOCK, DAMAGE, Member, is_zip, tar_members, zip_members
from unseg_core.errors import DataError, StorageError
from unseg_core.progress import progress

SHOWN_FROM_MEGABYTES = 8
RATIO_FROM_BYTES = 64 * 2**20
"""Up to this size an archive may unpack to anything: a few images compress as well as they like."""
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may hold, wanted or not; more is refused."""

    members: int = 1_000_000
    member_bytes: int = 2**30
    total_bytes: int = 64 * 2**30
    ratio: int = 100
    """Bytes unpacked for each byte of the archive; JPEG and PNG are near 1."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The arguments of `unpack`."""

    archive: Path
    target: Path
    limits: Limits
    place: Callable[[str], str | None]


def unpack(
    archive: Path, target: Path, *, limits: Limits | None = None, place: Callable[[str], str | None] | None = None
) -> int:
    """Unpack an archive into a new folder; the format is told by the content.

    Args:
        archive: zip or tar, the latter plain or compressed by gzip, bzip2 or xz.
        target: must not exist; what was written so far stays there after an error, so name a temporary folder.
        place: gives a member's POSIX path below `target`, or None to leave it out; default: all where they are.

    Returns:
        Number of files written.

    Raises:
        DataError: damaged, encrypted, beyond the limits, or with a member that is a link or leaves the folder.
    """
    try:
        with archive.open("rb") as raw, _shown(archive) as show:
            job = _Job(archive=archive, target=target, limits=limits or Limits(), place=place or str)
            with _writing(target):
                target.mkdir(parents=True)
            return _write_all(job, _looked_at(job, zip_members(raw)) if is_zip(raw) else tar_members(raw), show)
    except FileNotFoundError:
        raise DataError(f"{archive} does not exist; check the path") from None
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{archive} cannot be unpacked ({reason}); remove it and fetch it again") from None


@contextlib.contextmanager
def _shown(archive: Path) -> Iterator[Callable[[int], None]]:
    """Progress by how many bytes of the archive have been read; small ones pass silently."""
    total, done = archive.stat().st_size // 10**6, 0
    if total < SHOWN_FROM_MEGABYTES:
        yield lambda consumed: None
        return
    with progress(f"unpack {archive.name}", total, "MB") as advance:

        def show(consumed: int) -> None:
            nonlocal done
            before, done = done, min(consumed // 10**6, total)
            if done > before:
                advance(done - before)

        yield show


def _looked_at(job: _Job, members: Sequence[Member]) -> Sequence[Member]:
    """Refuses before the first file is written: a zip has a table of all names and sizes."""
    budget, needed = _Budget(job), 0
    for member in members:
        budget.take(member)
        needed += member.size if _path_of(job, member) is not None else 0
    if members and members[-1].consumed > job.archive.stat().st_size:
        raise DataError(f"{job.archive} has members that overlap, as decompression bombs do; fetch it again")
    _check_room(job.target, needed)
    return members


def _write_all(job: _Job, members: Iterable[Member], show: Callable[[int], None]) -> int:
    budget, written = _Budget(job), 0
    for member in members:
        budget.take(member)
        path = _path_of(job, member)
        if path is not None:
            _write_one(job, member, path)
            written += 1
        show(member.consumed)
    return written


class _Budget:
    """Counts what an archive claims to hold. The readers never give more of a member than it claims."""

    def __init__(self, job: _Job) -> None:
        self.archive = job.archive
        self.limits = job.limits
        self.largest = max(RATIO_FROM_BYTES, job.limits.ratio * job.archive.stat().st_size)
        self.count = self.total = 0

    def take(self, member: Member) -> None:
        self.count += 1
        self.total += member.size
        if self.count > self.limits.members:
            self._refuse(f"more than {self.limits.members} members")
        if member.size > self.limits.member_bytes:
            self._refuse(f"{member.name!r} of {member.size} bytes, more than {self.limits.member_bytes}")
        if self.total > self.limits.total_bytes:
            self._refuse(f"more than {self.limits.total_bytes} bytes")
        if self.total > self.largest:
            self._refuse(f"more than {self.limits.ratio} times its own size, as decompression bombs do")

    def _refuse(self, what: str) -> None:
        raise DataError(f"{self.archive} holds {what}; fetch it again from a place you trust")


def _path_of(job: _Job, member: Member) -> str | None:
    """Where a member goes, below the target; None for folders and what is not wanted."""
    if member.is_folder:
        return None
    problem = member.problem or _name_problem(member.name)
    if problem:
        raise DataError(f"{job.archive}: member {member.name!r} {problem}; fetch it again from a place you trust")
    return job.place(PurePosixPath(member.name).as_posix())


def _name_problem(name: str) -> str:
    path = PurePosixPath(name)
    if not path.parts or CONTROL.search(name):
        return "has no usable name"
    if path.is_absolute() or DRIVE.match(name) or "\\" in name or ".." in path.parts:
        return "leaves the folder"
    return ""


def _write_one(job: _Job, member: Member, path: str) -> None:
    file = Path(storage.join(str(job.target), path))
    with _writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Never over a file that is there, nor through a link; without a buffer, whose rest would be written when it
            # is closed, where a full disk would be taken for a damaged archive.
            sink = file.open("xb", buffering=0)
        except FileExistsError:
            raise DataError(f"{job.archive} holds {path!r} twice; fetch it again from a place you trust") from None
    size = 0
    with sink, member.open() as source:
        while block := source.read(BLOCK):
            size += len(block)
            with _writing(file):
                _write_block(sink, block)
    if size != member.size:
        raise DataError(f"{job.archive}: {member.name!r} has {size} bytes instead of {member.size}; fetch it again")


def _write_block(sink: io.FileIO, block: bytes) -> None:
    """All of it: a file without a buffer may take less at a time."""
    left = memoryview(block)
    while left:
        left = left[sink.write(left) :]


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Tells errors of the disk that we write to from those of the archive."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"{path} cannot be written ({reason}); make room for it, the same command continues"
        ) from None


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(f"{folder} needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make room for it")
