"""The members of zip and tar archives, as the archives describe them; nothing is checked here and nothing written."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

BLOCK = 2**20
TAR_BLOCK = 512
# What the standard library's readers raise for damaged archives; OSError is bz2's, and that of a failing disk.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    UnicodeError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OSError,
)


@dataclass(frozen=True, kw_only=True)
class Member:
    name: str
    """As the archive has it: anything."""
    size: int
    """Bytes, as the archive says."""
    is_folder: bool
    problem: str
    """Why it is neither a file nor a folder; empty if it is."""
    open: Callable[[], IO[bytes]]
    consumed: int
    """Bytes of the archive that lie before the next member, about."""


def is_zip(raw: IO[bytes]) -> bool:
    """By the first bytes, because a tar may hold a zip at its end."""
    return _starts(raw).startswith((b"PK\x03\x04", b"PK\x05\x06"))


def _starts(raw: IO[bytes]) -> bytes:
    """Enough of it that no file name at the start of a tar is taken for another format."""
    start = raw.read(10)
    raw.seek(0)
    return start


def zip_members(raw: IO[bytes]) -> list[Member]:
    """All at once; `raw` must stay open while they are read."""
    opened, members, consumed = zipfile.ZipFile(raw), [], 0
    for info in opened.infolist():
        consumed += info.compress_size
        members.append(_zip_member(opened, info, consumed))
    return members


def _zip_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, consumed: int) -> Member:
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    problem = ""
    if info.flag_bits & 0x1:
        problem = "is encrypted"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        problem = "is a link or device"
    # The reader cuts a name at a zero byte; the name as it was is the one to judge.
    return Member(
        name=info.orig_filename,
        size=info.file_size,
        is_folder=info.is_dir() and not problem,
        problem=problem,
        open=lambda: opened.open(info),
        consumed=consumed,
    )


def tar_members(raw: IO[bytes]) -> Iterator[Member]:
    """One after the other; a tar that is damaged or cut off somewhere says so when that is reached."""
    careful: Any = _Careful(_decompressed(raw))
    with tarfile.open(fileobj=careful, mode="r:") as opened:
        while info := opened.next():
            yield _tar_member(opened, info, raw.tell())
            # Or it keeps every header.
            opened.members.clear()  # type: ignore[attr-defined]  # the stubs leave it out
        # It takes a damaged or missing header for the end of the archive.
        careful.seek(opened.offset)
        if careful.read(TAR_BLOCK) != bytes(TAR_BLOCK):
            raise tarfile.ReadError("it ends too early or is damaged in the middle")
        # To the end of a compressed stream, where its checksum is.
        careful.read(BLOCK)


def _tar_member(opened: tarfile.TarFile, info: tarfile.TarInfo, consumed: int) -> Member:
    regular = info.isreg() and not info.issparse()

    def open_member() -> IO[bytes]:
        source = opened.extractfile(info)
        assert source is not None  # only links and folders have none
        return source

    return Member(
        name=info.name,
        size=info.size,
        is_folder=info.isdir(),
        problem="" if regular or info.isdir() else "is a link or device",
        open=open_member,
        consumed=consumed,
    )


class _Careful:
    """A stream for tarfile that gives no more than a block at once: it would read a header of any size into memory."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= BLOCK:
            raise tarfile.ReadError(f"a header of {size} bytes")
        data: bytes = self.stream.read(size)
        return data


def _decompressed(raw: IO[bytes]) -> Any:
    start = _starts(raw)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if start.startswith(b"BZh") and start.endswith(b"1AY&SY"):
        return bz2.BZ2File(raw)
    return lzma.LZMAFile(raw) if start.startswith(b"\xfd7zXZ\x00") else raw
