"""Files behind a URL: every request is repeated with growing pauses until it works or has failed too often.

Object stores make an object appear when its upload is complete; on other file systems it appears by rename.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeVar

import fsspec

from unseg_core.errors import DataError, StorageError
from unseg_core.remote_file import is_final, public_url

T = TypeVar("T")

ATTEMPTS = 10
"""An attempt may be several requests, and each can fail: where one in seven failed, seven attempts were too few."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 8.0
"""Seconds; the pauses double, and are shortened by chance so that many workers do not return at once."""

OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "memory"}

_connections: dict[str, Any] = {}
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A member of a folder."""

    name: str
    is_folder: bool
    size: int


def connect(url: str) -> tuple[Any, str]:
    """File system and path of a URL. One connection is shared by all threads.

    Raises:
        DataError: the scheme is unknown, or needs a package that is not installed.
    """
    server = "/".join(url.split("/")[:3])
    with _lock:
        filesystem = _connections.get(server)
        # What fsspec has been told to forget is forgotten here, too.
        if filesystem is None or all(one is not filesystem for one in type(filesystem)._cache.values()):
            filesystem = _connections[server] = _open(url)
    return filesystem, str(filesystem._strip_protocol(url)).rstrip("/")


def _open(url: str) -> Any:
    try:
        filesystem, _ = fsspec.core.url_to_fs(url, **_options(url))
    except ImportError as error:
        raise DataError(f"{public_url(url)} needs a package ({error}); run `pip install 'unseg[remote]'`") from None
    except ValueError as error:
        raise DataError(f"{public_url(url)} cannot be opened ({public_url(str(error))}); check its scheme") from None
    if hasattr(filesystem, "retries"):
        filesystem.retries = 1
    return filesystem


def _options(url: str) -> dict[str, Any]:
    """No cached listings, since other processes write there as well; repeated requests are this module's business."""
    if url.startswith(("s3://", "s3a://")):
        once = {"retries": {"total_max_attempts": 1, "mode": "standard"}, "connect_timeout": 15, "read_timeout": 60}
        return {"use_listings_cache": False, "config_kwargs": {**once, "max_pool_connections": 64}}
    return {} if "::" in url else {"use_listings_cache": False}


def attempt(url: str, doing: str, work: Callable[[Any, str], T]) -> T:
    """`work(filesystem, path)`, again and again if it is the connection that fails.

    Args:
        doing: "read" or "written", for messages.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: no access, or the server has failed too often.
    """
    filesystem, path = connect(url)
    pause = FIRST_PAUSE
    for number in range(1, ATTEMPTS + 1):
        try:
            return work(filesystem, path)
        except FileNotFoundError:
            raise
        except Exception as error:
            # Every file system has errors of its own.
            reason = public_url(" ".join(str(error.__cause__ or error).split())) or type(error).__name__
            if is_final(error):
                remedy = "check the address and your access; the same command continues"
                raise StorageError(f"{public_url(url)} cannot be {doing} ({reason}); {remedy}") from None
            if number == ATTEMPTS:
                times = f"after {ATTEMPTS} attempts"
                remedy = "check the connection; the same command continues"
                raise StorageError(f"{public_url(url)} cannot be {doing} {times} ({reason}); {remedy}") from None
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, LONGEST_PAUSE)
    raise AssertionError("unreachable")


def read(url: str) -> bytes:
    return attempt(url, "read", lambda filesystem, path: bytes(filesystem.cat_file(path)))


def write(url: str, data: bytes) -> None:
    _put(url, lambda filesystem, path: filesystem.pipe_file(path, data))


def upload(file: str, url: str) -> None:
    """Put a local file at a URL."""
    _put(url, lambda filesystem, path: filesystem.put_file(file, path))


def download(url: str, file: str) -> None:
    """Get the file at a URL into a local one; it is compared with the size that the server states."""

    def get(filesystem: Any, path: str) -> None:
        size = filesystem.info(path).get("size")
        filesystem.get_file(path, file)
        with open(file, "rb") as got:
            found = got.seek(0, 2)
        if size is not None and found != size:
            raise ConnectionError(f"{found} of {size} bytes came")

    attempt(url, "read", get)


def _put(url: str, put: Callable[[Any, str], object]) -> None:
    scheme = url.split("://")[0]

    def work(filesystem: Any, path: str) -> None:
        if scheme in OBJECT_STORES:
            put(filesystem, path)
            return
        pure = PurePosixPath(path)
        temporary = str(pure.with_name(f".unseg-{uuid.uuid4().hex}"))
        filesystem.makedirs(str(pure.parent), exist_ok=True)
        put(filesystem, temporary)
        filesystem.mv(temporary, path)

    try:
        attempt(url, "written", work)
    except FileNotFoundError as error:
        raise StorageError(f"{public_url(url)} cannot be written ({error}); make the bucket or folder first") from None


def info(url: str) -> dict[str, Any] | None:
    """What the file system says of a file or folder; None if there is none."""
    try:
        return attempt(url, "read", lambda filesystem, path: dict(filesystem.info(path)))
    except FileNotFoundError:
        return None


def entries(url: str) -> list[Entry]:
    """Members of a folder, sorted by name; none if there is no such folder."""
    try:
        found = attempt(url, "read", lambda filesystem, path: (path, filesystem.ls(path, detail=True)))
    except FileNotFoundError:
        return []
    folder, members = found
    named = [
        Entry(
            name=str(member["name"]).rstrip("/").rpartition("/")[2],
            is_folder=member["type"] == "directory",
            size=int(member.get("size") or 0),
        )
        for member in members
        # Some stores list a folder's own mark among its members.
        if str(member["name"]).strip("/") != folder.strip("/")
    ]
    return sorted(named, key=lambda entry: entry.name)


def walk(url: str, below: str = "") -> Iterator[tuple[str, int]]:
    """Paths below the folder `url` and their sizes: a folder's files before its subfolders, each sorted by name."""
    members = entries(f"{url.rstrip('/')}/{below}" if below else url)
    prefix = f"{below}/" if below else ""
    yield from ((prefix + entry.name, entry.size) for entry in members if not entry.is_folder)
    for entry in members:
        if entry.is_folder:
            yield from walk(url, prefix + entry.name)


def remove(url: str) -> None:
    """Remove a file or a whole folder, if it is there."""
    try:
        attempt(url, "removed", lambda filesystem, path: filesystem.rm(path, recursive=True))
    except FileNotFoundError:
        return
