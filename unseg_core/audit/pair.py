"""A protected copy beside its source: the same images twice, with the source's labels, matched by the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample, annotation_for, held_ids, label_map, wanted_categories
from unseg_core.errors import DataError, ManifestError, StorageError
from unseg_core.evaluate.copies import check_manifest
from unseg_core.evaluate.dataset import LabelledImages, shrunk
from unseg_core.images import decode_image
from unseg_core.progress import progress
from unseg_core.protect.manifest import Line, Settings, read_manifest

WORKERS = 4


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What the copy holds, in the order of the source."""

    copy: str
    """Folder or URL."""
    source: Layout
    summary: dict[str, Any]
    """manifest.json."""
    matched: tuple[tuple[Sample, Line], ...]
    """Images of the source with their lines; failed and skipped ones, which the copy does not hold, are left out."""
    scored: tuple[str, ...]
    """Classes whose IoU counts: those that were protected. All of them where `things` were."""


def open_pair(copy: str, source: Layout, settings: Settings) -> Pair:
    """Match a copy and its source by the ids of their images.

    Args:
        settings: as the manifest has them.

    Raises:
        ManifestError: the copy has no complete manifest.
        DataError: it is the copy of something else.
    """
    summary, lines = read_manifest(copy)
    check_manifest(copy, source, settings.classes, [line.id for line in lines])
    by_id = {line.id: line for line in lines}
    matched = tuple((one, by_id[one.id]) for one in source.samples() if by_id[one.id].output is not None)
    if not matched:
        raise ManifestError(f"{copy} holds no image; its manifest.jsonl says why")
    wanted = wanted_categories(settings.targets, source.classes)
    scored = tuple(name for n, name in enumerate(source.classes, start=1) if wanted is None or n in wanted)
    return Pair(copy=copy, source=source, summary=summary, matched=matched, scored=scored)


Matched = tuple[tuple[Sample, Line], ...]


def divide(pair: Pair, *, test_share: float, train_images: int, test_images: int) -> tuple[Matched, Matched]:
    """Images to train on and to test on, at most so many, chosen by a hash of their ids."""
    ranked = sorted(pair.matched, key=lambda one: hashlib.sha256(f"audit {one[0].id}".encode()).digest())
    held = held_ids([sample.id for sample, _ in ranked], test_share)
    train = [one for one in ranked if one[0].id not in held][:train_images]
    test = [one for one in ranked if one[0].id in held][:test_images]
    return tuple(train), tuple(test)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The same images, or those of them that are needed, from both folders, at the size of the probe."""

    source: LabelledImages
    copy: LabelledImages


def load_both(pair: Pair, chosen: Matched, size: int) -> Loaded:
    """Read images and check each against the manifest.

    Raises:
        ManifestError: a file is not the one that the manifest was written for.
        DataError: a file is damaged.
    """
    read = list(_read_all(pair, chosen, size))
    ids = tuple(sample.id for sample, _ in chosen)
    labels = torch.from_numpy(np.stack([labels for _, _, labels in read]))
    source, copy = (_images([one[number] for one in read]) for number in (0, 1))
    return Loaded(
        source=LabelledImages(images=source, labels=labels, ids=ids),
        copy=LabelledImages(images=copy, labels=labels, ids=ids),
    )


def _images(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays).transpose(0, 3, 1, 2).copy())


Read = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Original and protected uint8 [S, S, 3], labels uint8 [S, S]."""


def _read_all(pair: Pair, chosen: Matched, size: int) -> Iterator[Read]:
    with progress("read", len(chosen)) as advance, ThreadPoolExecutor(WORKERS) as pool:
        try:
            for one in pool.map(lambda item: _read(pair, item[0], item[1], size), chosen):
                advance(1)
                yield one
        finally:
            pool.shutdown(cancel_futures=True)


def _read(pair: Pair, sample: Sample, line: Line, size: int) -> Read:
    assert line.output is not None
    original = _file(storage.join(pair.source.root, sample.image), line.source_sha256, "the file that was protected")
    protected = _file(storage.join(pair.copy, line.output), line.output_sha256, "the file that was written")
    pixels = decode_image(original, sample.image).pixels
    changed = decode_image(protected, line.output).pixels
    if changed.shape != pixels.shape:
        raise ManifestError(f"{pair.copy}/{line.output} is of another size than its source; protect the data set again")
    labels = label_map(annotation_for(sample, pixels))
    image, small = shrunk(pixels, labels, size)
    return image, shrunk(changed, labels, size)[0], small


def _file(location: str, sha256: str | None, what: str) -> bytes:
    try:
        data = storage.read_file(location)
    except StorageError:
        raise
    except DataError as error:
        raise ManifestError(f"{error} (the manifest names it)") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ManifestError(f"{location} is not {what}; protect the data set again, or name the right source")
    return data
