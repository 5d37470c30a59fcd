"""HQSeg-44K from its official archives, or others of the same content, into one folder.

Every step continues where a killed run was: archives are downloaded in parts, each is unpacked into a folder that gets
its name when it is whole, and the data set appears by rename after all of it has been checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unseg_core import storage
from unseg_core.data.archives import unpack
from unseg_core.data.hqseg_check import check_hqseg, copy_unpacked, place_in
from unseg_core.data.layouts.hqseg44k import SUBSETS, Subset
from unseg_core.download import file_digest, has_digest, is_digest
from unseg_core.downloads import Download, download_all
from unseg_core.errors import DataError, ParameterError

OFFICIAL = "https://huggingface.co/sam-hq-team/sam-hq-training/resolve/main/data/"
PARTS = ("DIS5K", "cascade_psp", "thin_object_detection")
EXTENSIONS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_BYTES = 64 * 2**30
"""Of one archive. The official ones have a few gigabytes each."""
RECEIPT = "archives.json"
"""In the finished folder: the sha256 of each archive, and the number of pairs in each subset."""
UNPACKED = "unpacked folder"
"""Stands for the sha256 of a part that came without an archive."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One archive, or the folder in which a part lies unpacked."""

    location: str
    """URL or local path, without digest."""
    digest: str | None

    @property
    def name(self) -> str:
        return self.location.partition("?")[0].rstrip("/").rsplit("/", 1)[-1]

    @property
    def stem(self) -> str:
        return self.name.partition(".")[0]

    @property
    def is_remote(self) -> bool:
        return storage.is_url(self.location)


def fetch_hqseg(
    target: Path, *, path: str, archives: Sequence[str], work: Path, subsets: Sequence[Subset] = SUBSETS
) -> int:
    """Bring all of HQSeg-44K into the local folder `target`, which appears when it is complete and checked.

    Args:
        path: folder or URL of a folder that holds the archives of PARTS; a local one may hold their unpacked folders.
            Empty: the official location.
        archives: URLs or local paths of the archives, instead of `path`; `#sha256:HEX` at the end is checked.
        work: folder for what a restart continues from; removed after success.
        subsets: what is expected.

    Returns:
        Number of images, of all splits.

    Raises:
        ParameterError: an entry of `archives` cannot be used.
        DataError: something cannot be fetched or unpacked safely, or is not all of the data set.
    """
    wanted = _wanted(path, archives)
    count = _complete(target, wanted, subsets)
    if count is None:
        whole, sums = _bring(wanted, work, subsets)
        counts = check_hqseg(whole, subsets)
        receipt = {"archives": sums, "images": counts}
        storage.write_file(str(whole / RECEIPT), json.dumps(receipt, indent=1).encode() + b"\n")
        # First, because what has been moved away must not count as unpacked after a kill.
        storage.remove_folder(whole.with_name("parts"))
        _move(whole, target)
        count = sum(counts.values())
    storage.remove_folder(work)
    return count


def _wanted(path: str, archives: Sequence[str]) -> list[Archive]:
    if not archives:
        return [_find(path or OFFICIAL, part) for part in PARTS]
    wanted = [_parse(entry) for entry in archives]
    stems = [archive.stem for archive in wanted]
    if len(set(stems)) < len(stems):
        raise ParameterError(f"sources.*.archives names one archive twice ({', '.join(stems)}); remove one")
    lacking = [part for part in PARTS if part not in stems]
    if lacking and set(stems) < set(PARTS):
        raise ParameterError(f"sources.*.archives lacks {', '.join(lacking)}; name all three")
    return wanted


def _parse(entry: str) -> Archive:
    location, _, digest = entry.rpartition("#")
    if is_digest(digest):
        return Archive(location=location, digest=digest)
    if digest.startswith(("sha256:", "md5:")):
        raise ParameterError(f"sources.*.archives: {digest!r} is no digest; write sha256:HEX with at least six digits")
    return Archive(location=entry, digest=None)


def _find(folder: str, part: str) -> Archive:
    """The archive of a part in a folder or URL; in a local folder also a tar, or the part unpacked."""
    if storage.is_url(folder):
        return Archive(location=f"{folder.rstrip('/')}/{part}.zip", digest=None)
    places = [Path(folder, part + extension) for extension in EXTENSIONS]
    found = [place for place in places if place.is_file()] or [
        place for place in [Path(folder, part)] if place.is_dir()
    ]
    if not found:
        raise DataError(f"{folder} holds neither {part}.zip (or .tar, .tar.gz, ...) nor the folder {part}; add it")
    return Archive(location=str(found[0]), digest=None)


def _complete(target: Path, wanted: Sequence[Archive], subsets: Sequence[Subset]) -> int | None:
    """Number of images if the data set is there already, and from these archives where they are pinned."""
    try:
        sums = json.loads((target / RECEIPT).read_bytes())["archives"]
        for archive in wanted:
            algorithm, _, expected = (archive.digest or "").partition(":")
            if algorithm == "sha256" and not sums[archive.name].startswith(expected):
                return None
        return sum(check_hqseg(target, subsets).values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, DataError):
        return None


def _bring(wanted: Sequence[Archive], work: Path, subsets: Sequence[Subset]) -> tuple[Path, dict[str, str]]:
    """Fetch and unpack; returns the folder that should hold all now, and the sha256 of each archive."""
    files = _fetch(wanted, work / "archives")
    sums = {archive.name: sha256 for archive, (_, sha256) in zip(wanted, files, strict=True)}
    folder = work / "unpacked" / hashlib.sha256(json.dumps(sums).encode()).hexdigest()[:16]
    for other in sorted(folder.parent.glob("*")):
        if other != folder:
            storage.remove_folder(other)
    if any(file.is_dir() for file, _ in files):
        # It may have changed since: nothing tells.
        storage.remove_folder(folder)
    for archive, (file, _) in zip(wanted, files, strict=True):
        _unpack_once(file, archive.stem, folder / "parts", subsets)
    _merge([folder / "parts" / archive.stem for archive in wanted], folder / "whole", subsets)
    return folder / "whole", sums


def _fetch(wanted: Sequence[Archive], folder: Path) -> list[tuple[Path, str]]:
    """The local file of each archive, and its sha256; those on this machine are read where they are."""
    remote = [archive for archive in wanted if archive.is_remote]
    jobs = [
        # Two locations may use one file name.
        Download(
            url=archive.location,
            target=folder / hashlib.sha256(archive.location.encode()).hexdigest()[:12] / archive.name,
            digest=archive.digest,
            max_bytes=MAX_BYTES,
        )
        for archive in remote
    ]
    fetched = dict(zip((a.location for a in remote), zip(jobs, download_all(jobs), strict=True), strict=True))
    found = []
    for archive in wanted:
        if archive.is_remote:
            job, sha256 = fetched[archive.location]
            found.append((job.target, sha256))
        else:
            found.append(_local(archive))
    return found


def _local(archive: Archive) -> tuple[Path, str]:
    path = Path(archive.location).expanduser()
    if path.is_dir():
        return path, UNPACKED
    if not path.is_file():
        raise DataError(f"{path} does not exist; check the path")
    if archive.digest and not has_digest(path, archive.digest):
        raise DataError(f"{path} is not {archive.digest}; fetch it again, or name another file")
    return path, file_digest(path, "sha256")


def _unpack_once(file: Path, stem: str, folder: Path, subsets: Sequence[Subset]) -> None:
    """Unpack into folder/stem unless that is done."""
    done, partial = folder / stem, folder / f"{storage.TEMPORARY_PREFIX}{stem}"
    if done.is_dir():
        return
    storage.remove_folder(partial)
    try:
        if file.is_dir():
            count = copy_unpacked(file.parent, stem, partial, subsets)
        else:
            count = unpack(file, partial, place=place_in(stem, subsets))
    except DataError:
        # What an archive held that is refused is not to be kept.
        storage.remove_folder(partial)
        raise
    if not count:
        raise DataError(f"{file} holds nothing of HQSeg-44K; check that it is the archive of {stem}")
    os.replace(partial, done)


def _merge(parts: Sequence[Path], whole: Path, subsets: Sequence[Subset]) -> None:
    """Move the folders of the subsets together; a restart moves those that are left."""
    for folder in sorted({folder for subset in subsets for folder in (subset.images, subset.masks)}):
        having = [part for part in parts if (part / folder).is_dir()]
        if len(having) > 1:
            names = " and ".join(part.name for part in having)
            raise DataError(f"{names} both hold {folder}; leave one of them out (sources.*.archives)")
        for part in having:
            storage.replace_folder(part / folder, whole / folder)


def _move(whole: Path, target: Path) -> None:
    """Into place, also from another file system; the last step is a rename."""
    partial = target.with_name(f"{storage.TEMPORARY_PREFIX}{target.name}")
    storage.remove_folder(partial)
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(whole, partial)
    storage.replace_folder(partial, target)
