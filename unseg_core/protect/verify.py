"""Re-checking a protected copy against its manifest and the originals."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample, annotation_for, select_target
from unseg_core.errors import DataError, StorageError
from unseg_core.images import LOSSLESS, decode_image
from unseg_core.progress import progress
from unseg_core.protect.carry import carried_files, each
from unseg_core.protect.manifest import OWN_FILES, Line, Settings, open_manifest, settings_from
from unseg_core.protect.measure import measure
from unseg_core.protect.origin import open_original
from unseg_core.protect.other_pictures import OtherPictures
from unseg_core.protect.path_set import PathSet
from unseg_core.protect.region import protected_region


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Outcome of a check."""

    checked: int
    """Images."""
    differences: tuple[str, ...]
    """One sentence each; empty if everything is as the manifest says."""
    over_budget: tuple[str, ...] = field(default=())
    """Files over the budget, as the manifest states for JPEG; a lossless file over the budget is a difference."""
    other_pictures: int = 0
    """Pictures, videos and archives that are as in the original; without one they are not counted."""


def verify_copy(
    target: str, source: str | None = None, *, masks: str | None = None, layout: Layout | None = None, workers: int = 2
) -> Verification:
    """Check every file of a copy.

    Args:
        source: the original data set; without it only the copy's own hashes are checked.
        masks: where the original's masks are, if not below it.
        layout: the original, opened, if it takes more than that to open it.
        workers: files checked at the same time.

    Raises:
        ManifestError: the copy has no complete manifest.
        DataError: the source cannot be opened.
        ParameterError: masks or annotations came from elsewhere and are not given.
        StorageError: a server does not answer.
    """
    summary, lines = open_manifest(target)
    settings = settings_from(summary["settings"])
    if source is not None and layout is None:
        layout = open_original(settings, source, masks=masks)
    check = _Check(target=target, layout=layout, settings=settings)
    check.images(lines, summary["totals"]["images"], workers)
    if layout is not None:
        check.members(workers)
    return Verification(
        checked=check.checked,
        differences=tuple(sorted(check.differences)),
        over_budget=tuple(sorted(check.over)),
        other_pictures=check.other_pictures,
    )


class _Check:
    """One run: what was found so far."""

    def __init__(self, *, target: str, layout: Layout | None, settings: Settings) -> None:
        self.target = target
        self.layout = layout
        self.settings = settings
        self.checked = 0
        self.differences: list[str] = []
        self.over: list[str] = []
        self.other_pictures = 0
        self.lock = threading.Lock()

    def images(self, lines: Iterator[Line], count: int, workers: int) -> None:
        """Every line of the manifest, with its sample where there is an original."""
        pairs = ((line, None) for line in lines) if self.layout is None else self._pairs(lines, self.layout)
        with progress("verify", count) as advance:

            def check(pair: tuple[Line, Sample | None]) -> None:
                found, is_over = self._check_image(*pair)
                with self.lock:
                    self.checked += 1
                    self.differences += found
                    self.over += [str(pair[0].output)] if is_over else []
                    advance(1)

            each(check, pairs, workers)

    def _pairs(self, lines: Iterator[Line], layout: Layout) -> Iterator[tuple[Line, Sample | None]]:
        """Both come in the same order, so that hardly one has to wait for the other, unless something is missing."""
        waiting_lines: dict[str, Line] = {}
        waiting_samples: dict[str, Sample] = {}
        for line, sample in _side_by_side(lines, layout.samples()):
            if line is not None:
                waiting_lines[line.id] = line
            if sample is not None:
                waiting_samples[sample.id] = sample
            for one in {item.id for item in (line, sample) if item is not None}:
                if one in waiting_lines and one in waiting_samples:
                    yield waiting_lines.pop(one), waiting_samples.pop(one)
        for line in waiting_lines.values():
            self.differences.append(f"{line.image}: not in the source")
            yield line, None
        self.differences += [f"{sample.image}: not in the manifest" for sample in waiting_samples.values()]

    def _check_image(self, line: Line, sample: Sample | None) -> tuple[list[str], bool]:
        if line.output is None:
            return [], False
        try:
            data = storage.read_file(storage.join(self.target, line.output))
        except StorageError:
            raise
        except DataError:
            return [f"{line.output}: missing"], False
        changed = hashlib.sha256(data).hexdigest() != line.output_sha256
        found = [f"{line.output}: changed after it was written"] if changed else []
        if sample is None or self.layout is None:
            return found, False
        measured, is_over = check_pixels(self.layout, sample, line, data, self.settings)
        return found + measured, is_over

    def members(self, workers: int) -> None:
        """Files that are missing, extra or differ although they should have been carried over unchanged."""
        assert self.layout is not None
        root, others = self.layout.root, OtherPictures.of(self.layout)
        images = PathSet(line.image for line in open_manifest(self.target)[1])
        outputs = PathSet(line.output for line in open_manifest(self.target)[1] if line.output)
        there, carried = PathSet(storage.list_files(self.target)), PathSet(carried_files(root, images))

        def check(path: str) -> None:
            if path not in there:
                difference = f"{path}: not in the copy"
            elif storage.sha256_of(storage.join(root, path)) != storage.sha256_of(storage.join(self.target, path)):
                difference = f"{path}: differs from the source although it is no image of the manifest"
            else:
                return
            with self.lock:
                self.differences.append(difference)

        each(check, others.seeing(carried_files(root, images)), workers)
        self.other_pictures = others.count
        for path in storage.list_files(self.target):
            if path not in carried and path not in outputs and path not in OWN_FILES:
                self.differences.append(f"{path}: not in the source")


def _side_by_side(lines: Iterator[Line], samples: Iterable[Sample]) -> Iterator[tuple[Line | None, Sample | None]]:
    others = iter(samples)
    while True:
        pair = next(lines, None), next(others, None)
        if pair == (None, None):
            return
        yield pair


def check_pixels(
    layout: Layout, sample: Sample, line: Line, written: bytes, settings: Settings
) -> tuple[list[str], bool]:
    """Measure the change again: differences from the manifest, and whether it is over the budget."""
    try:
        data = storage.read_file(storage.join(layout.root, sample.image))
        if hashlib.sha256(data).hexdigest() != line.source_sha256:
            return [f"{sample.image}: the source is not the file that was protected"], False
        original = decode_image(data, sample.image).pixels
        copy = decode_image(written, str(line.output))
        region = recorded_region(sample, settings, original)
    except StorageError:
        raise
    except DataError as error:
        return [str(error)], False
    if copy.pixels.shape != original.shape:
        return [f"{line.output}: another size than the source"], False
    change = measure(original, copy.pixels, region, epsilon=settings.epsilon, epsilon_bg=settings.epsilon_bg)
    inside, outside = change.linf_inside, change.linf_outside
    over = inside > settings.epsilon or outside > settings.epsilon_bg
    measured, stated = f"{inside}/{outside} levels", f"{line.linf_inside}/{line.linf_outside}"
    found = []
    if line.status == "protected" and (inside, outside) != (line.linf_inside, line.linf_outside):
        found.append(f"{line.output}: changes by {measured}, the manifest says {stated}")
    if over and copy.format in LOSSLESS:
        budget = f"{settings.epsilon:g}/{settings.epsilon_bg:g}"
        found.append(f"{line.output}: changes by {measured}, over the budget of {budget}")
    return found, over


def recorded_region(sample: Sample, settings: Settings, original: np.ndarray) -> np.ndarray:
    """Where epsilon applied in an image that was protected with these settings, bool HxW."""
    mask = select_target(annotation_for(sample, original), settings.targets, settings.classes).mask
    if settings.prompt == "whole" or (not mask.any() and settings.no_target == "whole"):
        return np.ones_like(mask)
    return protected_region(mask, each_object=settings.each_object) if mask.any() else mask
