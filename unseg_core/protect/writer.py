"""One image: read, protect within the budget, write, and measure what was written."""

from __future__ import annotations

import hashlib
import io
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from PIL import Image

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample, Target, annotation_for, select_target, target_of
from unseg_core.errors import DataError, StorageError
from unseg_core.images import SUFFIXES, Picture, decode_image, encode_image
from unseg_core.protect.manifest import Line, Settings
from unseg_core.protect.measure import measure, noised, pulled_in
from unseg_core.protect.region import protected_region

FEW_BYTES, FEW_PIXELS = 16_000, 1_000_000
"""An image of fewer counts for nothing in the pixel budget. The bytes alone do not say it: a file of one colour may
have any size."""
EXCESS_SHARE, ROUNDS = 0.001, 6
"""A JPEG is encoded up to so many times, until no larger share of its pixels is far over the budget."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all images of one run share. Can be sent to other processes."""

    layout: Layout
    settings: Settings
    target: str
    scratch: str | None = None
    """Folder for temporary files on the target's disk; None for URLs."""
    clashes: frozenset[str] = frozenset()
    """Images whose copies would overwrite other files."""
    is_trial: bool = False
    """Nothing is to be written."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An image that is ready for its noise."""

    sample: Sample
    line: Line
    picture: Picture
    target: Target
    region: np.ndarray
    """bool HxW: where epsilon applies."""


def blank_line(settings: Settings, sample: Sample) -> Line:
    return Line(
        id=sample.id,
        image=sample.image,
        status="protected",
        method=settings.method,
        generator_sha256=settings.generator_sha256,
        epsilon=settings.epsilon,
        epsilon_bg=settings.epsilon_bg,
        prompt=settings.prompt,
    )


def failed_line(settings: Settings, sample: Sample, error: Exception) -> Line:
    """For data that cannot be used. A storage that does not work is no such thing: it is raised again."""
    if isinstance(error, StorageError):
        raise error
    if isinstance(error, DataError):
        return replace(blank_line(settings, sample), status="failed", reason=str(error))
    # Decoders have errors of their own for damaged files; one image must not stop the run.
    reason = f"{sample.image} or its annotation cannot be used ({type(error).__name__}: {error}); replace the file"
    return replace(blank_line(settings, sample), status="failed", reason=reason)


def read_image(job: Job, sample: Sample) -> bytes:
    """The image file's bytes.

    Raises:
        DataError: it cannot be read, or its copy would overwrite another file.
    """
    if sample.image in job.clashes:
        raise DataError(f"{sample.image}: its copy would have the name of another file; rename one of them")
    return storage.read_file(storage.join(job.layout.root, sample.image))


def pixels_of(data: bytes) -> int:
    """What an image counts for in the pixel budget, 0 for small ones; decodes the header only."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                pixels = image.width * image.height
    except Exception:
        # Decoding says what is wrong with it.
        return 0
    return 0 if len(data) < FEW_BYTES and pixels < FEW_PIXELS else pixels


def prepare(job: Job, sample: Sample, data: bytes) -> Prepared | Line:
    """Decode an image and its annotation. Returns the finished line where no noise is needed.

    Raises:
        DataError: image or annotation cannot be used.
    """
    settings = job.settings
    line = replace(blank_line(settings, sample), source_sha256=hashlib.sha256(data).hexdigest())
    try:
        picture = decode_image(data, sample.image)
        target = select_target(annotation_for(sample, picture.pixels), settings.targets, job.layout.classes)
        empty = not target.mask.any()
    except Exception as error:
        return replace(failed_line(settings, sample, error), source_sha256=line.source_sha256)
    if empty and settings.no_target != "whole":
        return _without_target(job, sample, data, line)
    if empty:
        target = target_of(np.ones_like(target.mask))
    region = np.ones_like(target.mask) if settings.prompt == "whole" else _region(settings, target)
    return Prepared(sample=sample, line=line, picture=picture, target=target, region=region)


def _region(settings: Settings, target: Target) -> np.ndarray:
    return protected_region(target.mask, each_object=settings.each_object)


def _without_target(job: Job, sample: Sample, data: bytes, line: Line) -> Line:
    line = replace(line, status="no_target", reason="no pixel of a target object")
    if job.settings.no_target == "skip":
        return line
    if job.is_trial:
        return replace(line, output=sample.image)
    storage.write_file(storage.join(job.target, sample.image), data, scratch=job.scratch)
    line = replace(line, output=sample.image, output_sha256=line.source_sha256)
    return replace(line, linf_inside=0, linf_outside=0, psnr=100.0, excess_share=0.0)


def encode(settings: Settings, prepared: Prepared, noise_3HW: np.ndarray) -> tuple[bytes, Line]:
    """Add the noise; returns the file's bytes and the line that says what they change.

    Raises:
        DataError: the image cannot be written in the wanted format.
    """
    picture, budget = prepared.picture, {"epsilon": settings.epsilon, "epsilon_bg": settings.epsilon_bg}
    changed = noised(picture.pixels, noise_3HW, prepared.region, grey=picture.grey, **budget)
    image_format = picture.format if settings.image_format == "auto" else settings.image_format
    output = output_name(prepared.sample.image, settings.image_format)
    for left in reversed(range(ROUNDS)):
        data = encode_image(changed, picture, image_format)
        written = decode_image(data, output).pixels
        change = measure(picture.pixels, written, prepared.region, **budget)
        if change.excess_share <= EXCESS_SHARE or not left:
            break
        changed = pulled_in(changed, written, picture.pixels, prepared.region, **budget)
    return data, replace(
        prepared.line,
        output=output,
        output_sha256=hashlib.sha256(data).hexdigest(),
        linf_inside=change.linf_inside,
        linf_outside=change.linf_outside,
        psnr=round(change.psnr, 4),
        excess_share=round(change.excess_share, 6),
    )


def finish(job: Job, prepared: Prepared, noise_3HW: np.ndarray, turn: AbstractContextManager[Any]) -> Line:
    """Add the noise, inside `turn`, and write the copy."""
    try:
        with turn:
            data, line = encode(job.settings, prepared, noise_3HW)
    except Exception as error:
        failed = failed_line(job.settings, prepared.sample, error)
        return replace(failed, source_sha256=prepared.line.source_sha256)
    storage.write_file(storage.join(job.target, str(line.output)), data, scratch=job.scratch)
    return line


def output_name(image: str, image_format: Literal["auto", "png", "jpeg"]) -> str:
    """The image's own name, also where it does not fit its contents; with the extension of a format asked for."""
    if image_format == "auto":
        return image
    pure = PurePosixPath(image)
    fitting = SUFFIXES[image_format]
    return image if pure.suffix.lower() in fitting else pure.with_suffix(fitting[0]).as_posix()
