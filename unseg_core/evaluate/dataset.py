"""Images and label maps of a data set, or of its protected copy, at the resolution of the evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample, annotation_for, held_ids, label_map
from unseg_core.errors import DataError
from unseg_core.evaluate.batch import Batch, Draws
from unseg_core.images import decode_image
from unseg_core.model.parts import normalise
from unseg_core.protect.manifest import SUMMARY, open_manifest


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """A split in memory, for the semantic tasks."""

    images: Tensor
    """uint8 [N, 3, S, S]"""
    labels: Tensor
    """uint8 [N, S, S], 255 = ignore"""
    ids: tuple[str, ...]

    def batch(self, rows: Sequence[int], device: torch.device, rng: Draws | None = None) -> Batch:
        """Some images with their label maps; with `rng` each one is mirrored with probability 1/2."""
        chosen = torch.as_tensor(rows)
        images, labels = self.images[chosen], self.labels[chosen]
        if rng is not None:
            images, labels = _flip(images, labels, rng)
        values = normalise(images.to(device).float() / 255.0).contiguous(memory_format=torch.channels_last)
        return Batch(images=values, labels=labels.long().to(device))


def _flip(images: Tensor, labels: Tensor, rng: Draws) -> tuple[Tensor, Tensor]:
    flipped = torch.from_numpy(rng.random(len(images)) < 0.5)
    images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images)
    return images, torch.where(flipped.view(-1, 1, 1), labels.flip(-1), labels)


@dataclass(frozen=True, kw_only=True)
class ListedImages:
    """A split of any length for the semantic tasks: every batch is read anew, the same as from memory."""

    placed: Sequence[tuple[Layout, Sample]]
    size: int
    workers: int = 1
    """Images that are read at the same time."""

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(sample.id for _, sample in self.placed)

    def batch(self, rows: Sequence[int], device: torch.device, rng: Draws | None = None) -> Batch:
        """As LabelledImages.batch.

        Raises:
            DataError: a file is damaged; the message names it.
        """
        read = load_samples([self.placed[row] for row in rows], self.size, self.workers)
        return read.batch(range(len(rows)), device, rng)


BYTES_OF_PIXEL = 4
"""Three channels and a label."""


def open_labelled(
    placed: Sequence[tuple[Layout, Sample]], size: int, *, memory_gib: float, workers: int
) -> LabelledImages | ListedImages:
    """In memory where it takes at most so much.

    Raises:
        DataError: a file is damaged.
    """
    if len(placed) * size * size * BYTES_OF_PIXEL > memory_gib * 2**30:
        return ListedImages(placed=placed, size=size, workers=workers)
    return load_samples(placed, size, workers)


def load_samples(placed: Sequence[tuple[Layout, Sample]], size: int, workers: int = 1) -> LabelledImages:
    """Load samples, each from its own data set.

    Raises:
        DataError: a file is damaged.
    """
    side = (len(placed), size, size)
    images, labels = np.empty((*side, 3), dtype=np.uint8), np.empty(side, dtype=np.uint8)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            for row, one in enumerate(pool.map(lambda item: load_one(item[0], item[1], size), placed)):
                images[row], labels[row] = one
        finally:
            pool.shutdown(cancel_futures=True)
    return LabelledImages(
        images=torch.from_numpy(images.transpose(0, 3, 1, 2).copy()),
        labels=torch.from_numpy(labels),
        ids=tuple(sample.id for _, sample in placed),
    )


def part_of(layout: Layout, *, test: bool, test_share: float) -> list[Sample]:
    """The samples of the training or the test part.

    The split goes by the ids of all samples, so that a copy is split like its original; with a share of 0 all are
    trained on. Images that a protected copy does not hold (failed or skipped ones) are left out.

    Raises:
        DataError: the part is empty.
    """
    samples = list(layout.samples())
    held = held_ids(all_ids(layout, samples), test_share) if test_share else frozenset()
    chosen = [sample for sample in samples if (sample.id in held) == test]
    if not chosen:
        raise DataError(f"{layout.root} has no {'test' if test else 'training'} image; change datasets.*.test_share")
    return chosen


def all_ids(layout: Layout, samples: list[Sample]) -> list[str]:
    """Ids of the original: from the manifest for a protected copy, else of the samples."""
    if storage.exists(storage.join(layout.root, SUMMARY)):
        return [line.id for line in open_manifest(layout.root)[1]]
    return [sample.id for sample in samples]


def load_one(layout: Layout, sample: Sample, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [S, S, 3] (bilinear with antialias) and labels uint8 [S, S] (nearest)."""
    pixels = decode_image(storage.read_file(storage.join(layout.root, sample.image)), sample.image).pixels
    return shrunk(pixels, label_map(annotation_for(sample, pixels)), size)


def shrunk(pixels: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image [S, S, 3] by bilinear resizing with antialias, labels [S, S] by nearest."""
    side = (size, size)
    image = Image.fromarray(pixels).resize(side, Image.Resampling.BILINEAR)
    return np.asarray(image), np.asarray(Image.fromarray(labels).resize(side, Image.Resampling.NEAREST))
