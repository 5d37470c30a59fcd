"""Unpacking what strangers made: every trick that an archive can play on a careless program."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import resource
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unseg_core.data.archives import Limits, unpack
from unseg_core.errors import DataError, StorageError

FILES = {"a/one.png": b"1" * 5000, "a/b/two two.png": b"", "DIS5K/DIS-TR/im/1#Bag#\u00e9.jpg": os.urandom(3000)}
TARS = {".tar": "w", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]  # the mode is no literal here
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def make(path: Path, files: dict[str, bytes]) -> Path:
    mode = TARS.get("".join(path.suffixes))
    return make_tar(path, files, mode) if mode else make_zip(path, files)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("extension", [".zip", *TARS])
def test_all_files_arrive_with_their_bytes(extension: str, tmp_path: Path) -> None:
    archive = make(tmp_path / f"x{extension}", FILES)
    assert unpack(archive, tmp_path / "new" / "out") == 3
    assert content(tmp_path / "new" / "out") == FILES
    renamed = archive.rename(tmp_path / "download")
    assert unpack(renamed, tmp_path / "again", place=lambda name: name if name.startswith("a/b") else None) == 1
    assert content(tmp_path / "again") == {"a/b/two two.png": b""}
    names = {"PK photos/1.png": b"x"}, {"BZhang/1.png": b"x"}
    for i, files in enumerate(names if extension == ".tar" else ()):
        assert unpack(make(tmp_path / f"name{i}.tar", files), tmp_path / f"named{i}") == 1


@pytest.mark.parametrize("extension", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "a/..", "..\\evil", "C:\\evil", "C:evil", "a\nb", "x\x7f", "."]
)
def test_no_name_leaves_the_folder(extension: str, name: str, tmp_path: Path) -> None:
    archive = make(tmp_path / f"x{extension}", {name: b"x", "fine": b"y"})
    with pytest.raises(DataError, match=r"leaves the folder|no usable name") as caught:
        unpack(archive, tmp_path / "in" / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*evil*"))
    assert content(tmp_path / "in" / "out") == {}


@given(name=st.text(alphabet="./\\a:~\u00e9 ", min_size=1, max_size=12), tar=st.booleans())
def test_no_name_at_all_leaves_the_folder(name: str, tar: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("x")
    archive = (make_tar if tar else make_zip)(root / "archive", {name: b"x"})
    with contextlib.suppress(DataError):
        unpack(archive, root / "in" / "out")
    written = [path for path in root.rglob("*") if path.is_file() and path != archive]
    assert all(path.is_relative_to(root / "in" / "out") for path in written)


def test_a_zero_byte_in_a_name_is_not_cut_off(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "x.zip", {"aXb": b"x"})
    archive.write_bytes(archive.read_bytes().replace(b"aXb", b"a\0b"))
    with pytest.raises(DataError, match="no usable name"):
        unpack(archive, tmp_path / "out")


def zip_of_kind(path: Path, kind: int) -> Path:
    info = zipfile.ZipInfo("a")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
        archive.writestr("a/b", "x")
    return path


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip(kind: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a link or device"):
        unpack(zip_of_kind(tmp_path / "x.zip", kind), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_in_a_tar(kind: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.type, info.linkname = kind, "../.."
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(info)
        archive.addfile(tarfile.TarInfo("a/b"))
    with pytest.raises(DataError, match="is a link or device"):
        unpack(tmp_path / "x.tar", tmp_path / "out", place=lambda name: None)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("extension", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(members=2), "more than 2 members"),
        (Limits(member_bytes=4999), "5000 bytes, more than 4999"),
        (Limits(total_bytes=7999), "more than 7999 bytes"),
    ],
)
def test_limits_also_count_what_is_left_out(extension: str, limits: Limits, message: str, tmp_path: Path) -> None:
    archive = make(tmp_path / f"x{extension}", FILES)
    for place in (str, lambda name: None):
        with pytest.raises(DataError, match=message):
            unpack(archive, tmp_path / str(place is str), limits=limits, place=place)
    assert unpack(archive, tmp_path / "all", limits=Limits(members=3, member_bytes=5000, total_bytes=8000)) == 3


@pytest.mark.parametrize("extension", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_bombs_are_refused_before_they_are_written(extension: str, tmp_path: Path) -> None:
    zeros = bytes(9 * 2**20)
    archive = make(tmp_path / f"x{extension}", {f"{i}.png": zeros for i in range(8)})
    assert archive.stat().st_size < 200_000
    with pytest.raises(DataError, match="times its own size"):
        unpack(archive, tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= 64 * 2**20


def test_a_zip_of_members_that_overlap_is_refused(tmp_path: Path) -> None:
    data = np.random.Generator(np.random.PCG64(1)).bytes(100_000)
    archive = make_zip(tmp_path / "x.zip", {"a": data})
    with zipfile.ZipFile(archive, "a") as opened:
        for i in range(3):
            copy = zipfile.ZipInfo(f"a{i}")
            for key in ("CRC", "compress_size", "file_size", "header_offset", "compress_type"):
                setattr(copy, key, getattr(opened.getinfo("a"), key))
            opened.filelist.append(copy)
        opened._didModify = True  # type: ignore[attr-defined]  # or the table would not be written
    with pytest.raises(DataError, match="overlap"):
        unpack(archive, tmp_path / "out")


def test_a_header_of_a_gigabyte_is_not_read_into_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 2**30
    with gzip.open(tmp_path / "x.tar.gz", "wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(2**22))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="a header of 1073741824 bytes"):
        unpack(tmp_path / "x.tar.gz", tmp_path / "out")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_an_encrypted_zip_says_so(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "x.zip", {"secret.png": b"x"})
    data = bytearray(archive.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"'secret.png' is encrypted"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("extension", [".zip", *TARS])
def test_a_truncated_archive_is_an_error_at_every_length(extension: str, tmp_path: Path) -> None:
    files = {f"{i}.png": os.urandom(700) for i in range(3)}
    whole = make(tmp_path / f"x{extension}", files).read_bytes()
    # The last kilobytes of a plain tar are padding.
    end = len(whole) if extension != ".tar" else whole.rindex(files["2.png"]) + 700
    for i, length in enumerate([*range(0, end - 1, 97), end - 1]):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(DataError, match="fetch it again"):
            unpack(tmp_path / "cut", tmp_path / f"out{i}")


@pytest.mark.parametrize("extension", [".zip", *TARS])
def test_a_damaged_archive_never_ends_in_another_error(extension: str, tmp_path: Path) -> None:
    whole = make(tmp_path / f"x{extension}", FILES).read_bytes()
    draw, refused = np.random.Generator(np.random.PCG64(3)), 0
    for i in range(60):
        data = bytearray(whole)
        for at in draw.integers(0, len(data), 3):
            data[at] ^= 1 << int(draw.integers(8))
        (tmp_path / "damaged").write_bytes(data)
        try:
            unpack(tmp_path / "damaged", tmp_path / f"out{i}")
        except DataError as error:
            refused += str(error).count("\n") == 0
    # A tar has no checksum of what its files hold.
    assert refused >= (5 if extension == ".tar" else 30)


def test_a_tar_with_a_broken_header_in_the_middle_is_not_taken_for_its_start(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "x.tar", {"a": b"x", "b": b"y"})
    data = bytearray(archive.read_bytes())
    data[1024:1100] = b"\xff" * 76
    archive.write_bytes(data)
    with pytest.raises(DataError, match="damaged in the middle"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("build", [make_zip, make_tar])
def test_a_name_twice_is_refused(build: Callable[..., Path], tmp_path: Path) -> None:
    for i, names in enumerate((("a", "./a"), ("a", "a/b"), ("a/b", "a"))):
        archive = build(tmp_path / f"{i}", dict.fromkeys(names, b"x"))
        with pytest.raises(DataError, match=r"twice|cannot be written"):
            unpack(archive, tmp_path / f"out{i}")


def test_no_archive_no_file_and_no_room(tmp_path: Path) -> None:
    (tmp_path / "page.zip").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"page.zip cannot be unpacked"):
        unpack(tmp_path / "page.zip", tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        unpack(tmp_path / "absent.zip", tmp_path / "out")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        with pytest.raises(StorageError, match=r"one.png cannot be written \(File too large\)"):
            unpack(make_zip(tmp_path / "y.zip", {"one.png": bytes(3000)}), tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        unpack(make_zip(tmp_path / "x.zip", FILES), tmp_path / "file" / "out")
