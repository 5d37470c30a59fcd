"""A file behind fsspec: which version of it there is, how to read it, and which of its errors will pass."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from unseg_core.errors import DataError

# What file systems call the mark by which one version of a file differs from the next.
VERSION_KEYS = ("ETag", "etag", "Content-MD5", "LastModified", "Last-Modified", "mtime", "created", "blob_id")
# Answers that may be others a moment later: request timeout, too early, too many requests.
PASSING_STATUS = (408, 425, 429)


class ConnectionBrokenError(Exception):
    """The connection, not the file, is to blame: worth another attempt. For callers here, never for users."""


class NoRangesError(Exception):
    """The server gives files from their start only. For callers here, never for users."""


@dataclass(frozen=True, kw_only=True)
class FileVersion:
    """Which version of which file this is."""

    url: str
    """Without credentials."""
    size: int | None
    """Bytes; None where the server does not say."""
    mark: str
    """Whatever changes with the file (ETag, time); empty where there is no such thing."""


def public_url(text: str) -> str:
    """A URL, or a text with URLs, without the names, passwords and signatures that they may carry."""
    return re.sub(r"(://[^\s?'\"]*)\?[^\s'\"]*", r"\1", re.sub(r"(?<=://)[^/@\s]*@", "", text))


class RemoteFile:
    """A file at a URL or local path.

    Its methods raise DataError for what will stay wrong (no such file, no access), ConnectionBrokenError and
    NoRangesError, and nothing of the file system's own.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.label = public_url(url)
        try:
            self.filesystem, self.path = fsspec.core.url_to_fs(url, **_options(url))
        except ImportError as error:
            raise DataError(f"{self.label} needs a package ({error}); run `pip install 'unseg[remote]'`") from None
        except ValueError as error:
            raise DataError(f"{self.label} cannot be opened ({public_url(str(error))}); check its scheme") from None

    def version(self) -> FileVersion:
        with self.reading():
            info = self.filesystem.info(self.path)
        if info.get("type") == "directory":
            raise DataError(f"{self.label} is a folder; name a file")
        mark = next((str(info[key]) for key in VERSION_KEYS if info.get(key)), "")
        return FileVersion(url=self.label, size=info.get("size"), mark=mark)

    def open(self, offset: int, *, block_size: int) -> Any:
        """A file object that stands at `offset`; with block size 0 it comes in one piece, from the start only."""
        with self.reading():
            stream = self.filesystem.open(self.path, "rb", block_size=block_size, cache_type="none")
            if offset:
                stream.seek(offset)
            return stream

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Everything that is asked of the file system goes through here, for its errors."""
        try:
            yield
        except ValueError as error:
            # The way in which fsspec's HTTP files say it.
            raise NoRangesError(public_url(str(error))) from None
        except Exception as error:
            # Every file system has errors of its own.
            reason = public_url(" ".join(str(error.__cause__ or error).split())) or type(error).__name__
            if is_final(error):
                raise DataError(f"{self.label} cannot be read ({reason}); check the address and your access") from None
            raise ConnectionBrokenError(reason) from None


def _options(url: str) -> dict[str, Any]:
    """For HTTP: the proxies of the environment, no limit on the whole of a long answer, no compression on the way."""
    if not url.startswith(("http://", "https://")):
        return {}
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
    return {"client_kwargs": {"trust_env": True, "timeout": timeout}, "headers": {"Accept-Encoding": "identity"}}


def is_final(error: Exception) -> bool:
    """True if another attempt would fail as this one has."""
    cause = error.__cause__ or error
    status = getattr(cause, "status", None)
    if isinstance(status, int):
        return 400 <= status < 500 and status not in PASSING_STATUS
    if cause is not error and isinstance(cause, OSError):
        # fsspec's HTTP reports a server that does not answer as a missing file.
        return False
    if type(error).__name__ == "NoCredentialsError":
        return True
    return isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotImplementedError)
