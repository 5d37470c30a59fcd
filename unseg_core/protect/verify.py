"""Re-checking a protected copy against its manifest and the originals."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from unseg_core import storage
from unseg_core.data.layouts import open_layout
from unseg_core.data.sample import Sample, annotation_for, select_target
from unseg_core.errors import DataError
from unseg_core.images import decode_image
from unseg_core.model.budget import linf
from unseg_core.progress import progress
from unseg_core.protect.manifest import OWN_FILES, Line, Settings, read_manifest, settings_from
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


def verify_copy(target: str, source: str | None = None, *, masks: str | None = None) -> Verification:
    """Check every file of a copy.

    Args:
        source: the original data set; without it only the copy's own hashes are checked.
        masks: where the original's masks are, if not in its layout's own folder.

    Raises:
        ManifestError: the copy has no complete manifest.
        DataError: the source cannot be opened.
    """
    summary, lines = read_manifest(target)
    settings = settings_from(summary["settings"])
    differences: list[str] = []
    over: list[str] = []
    samples = _samples(source, settings, masks)
    if source is not None:
        differences += _check_members(target, source, lines, samples)
    with progress("verify", len(lines)) as advance:
        for line in lines:
            differences += _check_hash(target, line)
            if source is not None and line.id in samples and line.output is not None:
                found, is_over = _check_pixels(target, source, samples[line.id], line, settings)
                differences += found
                over += [line.output] if is_over else []
            advance(1)
    return Verification(checked=len(lines), differences=tuple(differences), over_budget=tuple(over))


def _samples(source: str | None, settings: Settings, masks: str | None) -> dict[str, Sample]:
    if source is None:
        return {}
    layout = open_layout(settings.layout, source, classes=settings.classes, masks=masks)
    return {sample.id: sample for sample in layout.samples()}


def _check_members(target: str, source: str, lines: list[Line], samples: dict[str, Sample]) -> list[str]:
    """Files that are missing, extra or differ although they should have been carried over unchanged."""
    listed = {line.id for line in lines}
    differences = [f"{sample.image}: not in the manifest" for one, sample in samples.items() if one not in listed]
    differences += [f"{line.image}: not in the source" for line in lines if line.id not in samples]
    images = {line.image for line in lines}
    carried = [path for path in storage.list_files(source) if path not in images and path not in OWN_FILES]
    for path in carried:
        original, copy = storage.join(source, path), storage.join(target, path)
        if not storage.exists(copy):
            differences.append(f"{path}: not in the copy")
        elif storage.sha256_of(original) != storage.sha256_of(copy):
            differences.append(f"{path}: differs from the source although it is no image of the manifest")
    known = set(carried) | set(OWN_FILES) | {line.output for line in lines}
    differences += [f"{path}: not in the source" for path in storage.list_files(target) if path not in known]
    return differences


def _check_hash(target: str, line: Line) -> list[str]:
    if line.output is None:
        return []
    location = storage.join(target, line.output)
    if not storage.exists(location):
        return [f"{line.output}: missing"]
    return [] if storage.sha256_of(location) == line.output_sha256 else [f"{line.output}: changed after it was written"]


def _check_pixels(target: str, source: str, sample: Sample, line: Line, settings: Settings) -> tuple[list[str], bool]:
    """Measure the change again: differences from the manifest, and whether it is over the budget."""
    try:
        data = storage.read_file(storage.join(source, sample.image))
        if hashlib.sha256(data).hexdigest() != line.source_sha256:
            return [f"{sample.image}: the source is not the file that was protected"], False
        original = decode_image(data, sample.image).pixels
        written = decode_image(storage.read_file(storage.join(target, str(line.output))), str(line.output))
        region = _region(sample, settings, original)
    except DataError as error:
        return [str(error)], False
    if written.pixels.shape != original.shape:
        return [f"{line.output}: another size than the source"], False
    inside, outside = linf(original, written.pixels, region)
    over = inside > settings.epsilon or outside > settings.epsilon_bg
    measured, stated = f"{inside}/{outside} levels", f"{line.linf_inside}/{line.linf_outside}"
    found = []
    if line.status == "protected" and (inside, outside) != (line.linf_inside, line.linf_outside):
        found.append(f"{line.output}: changes by {measured}, the manifest says {stated}")
    if over and written.format == "png":
        budget = f"{settings.epsilon:g}/{settings.epsilon_bg:g}"
        found.append(f"{line.output}: changes by {measured}, over the budget of {budget}")
    return found, over


def _region(sample: Sample, settings: Settings, original: np.ndarray) -> np.ndarray:
    mask = select_target(annotation_for(sample, original), settings.targets, settings.classes).mask
    if settings.prompt == "whole" or (not mask.any() and settings.no_target == "whole"):
        return np.ones_like(mask)
    return protected_region(mask) if mask.any() else mask
