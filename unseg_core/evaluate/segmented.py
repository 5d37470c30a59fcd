"""A split with all segments of its images, read one batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Annotation, Sample, annotation_for
from unseg_core.evaluate.batch import Batch, Draws, Frame, Objects
from unseg_core.evaluate.targets import objects_of, square_image
from unseg_core.images import decode_image
from unseg_core.model.parts import normalise


@dataclass(frozen=True, kw_only=True)
class SegmentedImages:
    """Where the images of a split are; as large as a data set may be, only the ids and paths are in memory."""

    root: str
    samples: tuple[Sample, ...]
    size: int
    """Side of the network's square input."""
    roots: tuple[str, ...] = ()
    """Of each sample, where they lie in several places."""
    workers: int = 1
    """Images that are read at the same time."""

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(sample.id for sample in self.samples)

    def batch(self, rows: Sequence[int], device: torch.device, rng: Draws | None = None) -> Batch:
        """Some images with their objects; with `rng` each one is mirrored with probability 1/2.

        Raises:
            DataError: a file is damaged; the message names it.
        """
        flips = [False] * len(rows) if rng is None else (rng.random(len(rows)) < 0.5).tolist()
        with ThreadPoolExecutor(max(1, min(self.workers, len(rows)))) as pool:
            loaded = list(pool.map(self._one, rows, flips))
        images = torch.stack([image for image, _, _, _ in loaded])
        return Batch(
            images=normalise(images.to(device).float() / 255.0),
            objects=tuple(objects.to(device) for _, objects, _, _ in loaded),
            frames=tuple(frame for _, _, frame, _ in loaded),
            annotations=tuple(annotation for _, _, _, annotation in loaded),
        )

    def _one(self, row: int, flip: bool) -> tuple[Tensor, Objects, Frame, Annotation]:
        sample, root = self.samples[row], self.roots[row] if self.roots else self.root
        pixels = decode_image(storage.read_file(storage.join(root, sample.image)), sample.image).pixels
        annotation = annotation_for(sample, pixels)
        frame = Frame(height=pixels.shape[0], width=pixels.shape[1], side=self.size)
        image = square_image(pixels[:, ::-1] if flip else pixels, self.size)
        return image, objects_of(annotation, frame, flip=flip), frame, annotation


def open_samples(placed: Sequence[tuple[Layout, Sample]], size: int, *, workers: int = 1) -> SegmentedImages:
    """Samples, each from its own data set."""
    roots = tuple(layout.root for layout, _ in placed)
    samples = tuple(sample for _, sample in placed)
    return SegmentedImages(root=roots[0], samples=samples, size=size, roots=roots, workers=workers)
