"""The journal of a run: a manifest line for every image that is done, so that a run that was cut off continues.

It lies in the target, in parts of consecutive images; a part is named for the index of its first image. On a disk a
line is there when its image is; an object cannot be appended to, so a bucket gets a part every so many images or
seconds, and a run that is cut off there does at most so much again, to the same bytes.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from types import TracebackType
from typing import IO

from unseg_core import __version__, storage
from unseg_core.errors import ManifestError, ParameterError, StorageError
from unseg_core.protect.manifest import SUMMARY, Line, Settings, line_text, read_summary, settings_from, to_json

WORK = f"{storage.TEMPORARY_PREFIX}work"
SETTINGS = "settings.json"
PART_IMAGES, PART_SECONDS = 256, 30.0


class Journal:
    """Of the target folder or URL. Any number of processes may add to it at the same time."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.work = storage.join(target, WORK)
        self.parts = storage.join(target, WORK, "parts")
        self.is_remote = storage.is_remote(target)
        self.locked: IO[bytes] | None = None

    @property
    def scratch(self) -> str | None:
        """Where temporary files lie; None for URLs, which need none."""
        return None if self.is_remote else storage.join(self.target, WORK, "scratch")

    def exists(self) -> bool:
        return storage.exists(storage.join(self.work, SETTINGS))

    def matches(self, settings: Settings) -> bool:
        """Whether it is that of a run with equal settings, by this version: another's noise may differ."""
        try:
            begun = json.loads(storage.read_file(storage.join(self.work, SETTINGS)))
            return begun.get("version") == __version__ and settings_from(begun) == settings
        except (ManifestError, ValueError):
            return False

    def begin(self, settings: Settings) -> None:
        """Mark the target as that of a run with these settings."""
        if self.scratch:
            _make_folders(self.parts, self.scratch)
        self.lock()
        begun = {**asdict(settings), "version": __version__}
        storage.write_file(storage.join(self.work, SETTINGS), to_json(begun).encode())

    def resume(self) -> None:
        """Clear away what a killed run left half-written. The journal is locked already."""
        if self.scratch:
            storage.remove(self.scratch)
            _make_folders(self.parts, self.scratch)

    def lock(self) -> None:
        """Keep other runs away from a target on a disk until `release`, or until this process ends.

        Raises:
            ParameterError: another run writes there now.
        """
        if self.is_remote:
            return
        self.locked = open(storage.join(self.work, "lock"), "wb")  # noqa: SIM115  # held until the run ends
        try:
            fcntl.flock(self.locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ParameterError(f"another run is writing to {self.target}; wait for it or choose another") from None
        except OSError:
            # Some network disks have no locks.
            return

    def texts(self) -> Iterator[tuple[int, str]]:
        """Index and line of every image that is done, in rising order, each once.

        Parts that are begun while this runs are left out.
        """
        following = 0
        for name in self._part_names():
            index = int(name.partition("-")[0])
            for text in self._part(name):
                if index >= following:
                    yield index, text
                    following = index + 1
                index += 1

    def _part_names(self) -> list[str]:
        if not storage.is_folder(self.parts):
            return []
        return sorted(storage.list_files(self.parts))

    def _part(self, name: str) -> Iterator[str]:
        """Lines of a part, up to one that was cut off."""
        with storage.open_reader(storage.join(self.parts, name)) as file:
            for data in file:
                if not (data.startswith(b"{") and data.endswith(b"}\n")):
                    return
                yield data[:-1].decode()

    def count(self) -> int:
        return sum(1 for _ in self.texts())

    def writer(self) -> PartWriter:
        return RemotePartWriter(self.parts) if self.is_remote else LocalPartWriter(self.parts)

    def end(self) -> None:
        """Remove it: the manifest has taken its place. Its settings go last, since they mark the target as ours."""
        for part in ("parts", "scratch"):
            storage.remove(storage.join(self.work, part))
        storage.remove(self.work)

    def release(self) -> None:
        """Let other runs have the target."""
        if self.locked is not None:
            self.locked.close()


def _make_folders(*locations: str) -> None:
    for location in locations:
        try:
            os.makedirs(location, exist_ok=True)
        except OSError as error:
            remedy = "give a folder that can be written"
            raise StorageError(f"{location} cannot be made ({error.strerror or error}); {remedy}") from None


class PartWriter:
    """Takes lines with their index; a gap between two begins another part. To be used as a context manager."""

    def __init__(self, parts: str) -> None:
        self.parts = parts
        self.following = -1

    def add(self, index: int, line: Line) -> None:
        text = f"{line_text(line)}\n"
        if index != self.following:
            self.begin(index)
        self.following = index + 1
        self.write(text)

    def begin(self, index: int) -> None:
        raise NotImplementedError

    def write(self, text: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def new_part(self, index: int) -> str:
        # The same image may be begun again after a kill; chance keeps the two parts apart.
        return storage.join(self.parts, f"{index:012d}-{os.urandom(4).hex()}.jsonl")

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LocalPartWriter(PartWriter):
    """Appends to a file; a line is with the system when `add` returns."""

    file: IO[bytes] | None = None

    def begin(self, index: int) -> None:
        self.close()
        self.file = open(self.new_part(index), "xb", buffering=0)  # noqa: SIM115  # open until the part ends

    def write(self, text: str) -> None:
        assert self.file is not None
        data = text.encode()
        try:
            written = self.file.write(data)
        except OSError as error:
            raise StorageError(f"{self.parts} cannot be written ({error.strerror}); make room and continue") from None
        if written != len(data):
            raise StorageError(f"{self.parts} cannot be written (the disk is full); make room and continue")

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class RemotePartWriter(PartWriter):
    """Collects lines and writes them as an object of their own."""

    def __init__(self, parts: str) -> None:
        super().__init__(parts)
        self.lines: list[str] = []
        self.first = 0
        self.since = time.monotonic()

    def begin(self, index: int) -> None:
        self.close()
        self.first = index

    def write(self, text: str) -> None:
        if not self.lines:
            self.since = time.monotonic()
        self.lines.append(text)
        if len(self.lines) >= PART_IMAGES or time.monotonic() - self.since >= PART_SECONDS:
            self.close()

    def close(self) -> None:
        if self.lines:
            storage.write_file(self.new_part(self.first), "".join(self.lines).encode())
            self.first += len(self.lines)
            self.lines = []


def open_journal(target: str, settings: Settings) -> Journal:
    """The journal of an unfinished run with the same settings, or a new one in an empty target.

    Raises:
        ManifestError: the target holds an unfinished run with other settings or by another version.
        ParameterError: the target holds a finished copy, or something else.
        StorageError: the target cannot be written.
    """
    journal = Journal(target)
    if journal.exists():
        journal.lock()
        if not journal.matches(settings):
            journal.release()
            raise ManifestError(
                f"{target} holds an unfinished run with other settings, or by another version of unseg; use "
                "--overwrite to start again"
            )
        journal.resume()
        return journal
    if storage.exists(storage.join(target, SUMMARY)):
        raise ParameterError(f"{target} holds a finished copy already; use --overwrite to replace it")
    if not _is_free(target):
        raise ParameterError(f"{target} is not empty; choose another folder")
    journal.begin(settings)
    return journal


def _is_free(target: str) -> bool:
    """True for a target with nothing in it, or with what a run leaves that was killed in its first moment."""
    if not storage.exists(target):
        return True
    return storage.is_folder(target) and next(storage.list_files(target), None) is None


def clear_target(target: str) -> None:
    """Remove an older copy, finished or not. What it is marked by goes first and last: a cut leaves no false copy.

    Raises:
        ParameterError: the target holds something else, or another run writes there now.
    """
    journal, summary = Journal(target), storage.join(target, SUMMARY)
    if _is_free(target) and not journal.exists():
        return
    if not journal.exists():
        try:
            read_summary(target)
        except ManifestError:
            raise ParameterError(
                f"{target} holds something else than a protected copy, which --overwrite leaves alone; "
                "choose another folder or remove it yourself"
            ) from None
        storage.write_file(storage.join(journal.work, SETTINGS), b"{}")
    journal.lock()
    try:
        storage.remove(summary)
        for name in storage.members(target):
            if name != WORK:
                storage.remove(storage.join(target, name))
        journal.end()
    finally:
        journal.release()
    if not (storage.is_remote(target) or storage.local_path(target).is_symlink()):
        storage.remove(target)
