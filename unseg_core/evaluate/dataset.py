"""Images and label maps of a data set, or of its protected copy, at the resolution of the evaluation."""

from __future__ import annotations

from collections.abc import Sequence
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
from unseg_core.protect.manifest import SUMMARY, read_manifest


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


def load_split(layout: Layout, *, test: bool, test_share: float, size: int) -> LabelledImages:
    """Load the training or the test part of a data set.

    Raises:
        DataError: the part is empty, or a file is damaged.
    """
    return load_samples([(layout, one) for one in part_of(layout, test=test, test_share=test_share)], size)


def load_samples(placed: Sequence[tuple[Layout, Sample]], size: int) -> LabelledImages:
    """Load samples, each from its own data set.

    Raises:
        DataError: a file is damaged.
    """
    loaded = [load_one(layout, sample, size) for layout, sample in placed]
    return LabelledImages(
        images=torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image, _ in loaded])),
        labels=torch.from_numpy(np.stack([labels for _, labels in loaded])),
        ids=tuple(sample.id for _, sample in placed),
    )


def part_of(layout: Layout, *, test: bool, test_share: float) -> list[Sample]:
    """The samples of the training or the test part.

    The split goes by the ids of all samples, so that a copy is split like its original. Images that a protected copy
    does not hold (failed or skipped ones) are left out.

    Raises:
        DataError: the part is empty.
    """
    samples = list(layout.samples())
    held = held_ids(all_ids(layout, samples), test_share)
    chosen = [sample for sample in samples if (sample.id in held) == test]
    if not chosen:
        raise DataError(f"{layout.root} has no {'test' if test else 'training'} image; change datasets.*.test_share")
    return chosen


def all_ids(layout: Layout, samples: list[Sample]) -> list[str]:
    """Ids of the original: from the manifest for a protected copy, else of the samples."""
    if storage.exists(storage.join(layout.root, SUMMARY)):
        return [line.id for line in read_manifest(layout.root)[1]]
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
