"""One image: read, protect within the budget, write, and measure what was written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample, Target, annotation_for, select_target, target_of
from unseg_core.errors import DataError
from unseg_core.images import Picture, decode_image, encode_image
from unseg_core.model.budget import add_noise, linf, psnr
from unseg_core.protect.manifest import Line, Settings
from unseg_core.protect.methods import Method
from unseg_core.protect.region import protected_region


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all images of one run share."""

    layout: Layout
    method: Method
    settings: Settings
    target: str


def protect_sample(job: Job, sample: Sample) -> Line:
    """Protect one image into the target. Data that cannot be used gives a line with status `failed`."""
    line = _blank(job.settings, sample)
    try:
        data = storage.read_file(storage.join(job.layout.root, sample.image))
        line = replace(line, source_sha256=hashlib.sha256(data).hexdigest())
        picture = decode_image(data, sample.image)
        annotation = annotation_for(sample, picture.pixels)
    except DataError as error:
        return replace(line, status="failed", reason=str(error))
    target = select_target(annotation, job.settings.targets, job.layout.classes)
    if not target.mask.any():
        return _without_target(job, sample, picture, data, line)
    return _write_protected(job, sample, picture, target, line)


def _blank(settings: Settings, sample: Sample) -> Line:
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


def _without_target(job: Job, sample: Sample, picture: Picture, data: bytes, line: Line) -> Line:
    if job.settings.no_target == "whole":
        return _write_protected(job, sample, picture, target_of(np.ones(picture.pixels.shape[:2], dtype=bool)), line)
    line = replace(line, status="no_target", reason="no pixel of a target object")
    if job.settings.no_target == "skip":
        return line
    storage.write_file(storage.join(job.target, sample.image), data)
    return replace(
        line, output=sample.image, output_sha256=line.source_sha256, linf_inside=0, linf_outside=0, psnr=100.0
    )


def _write_protected(job: Job, sample: Sample, picture: Picture, target: Target, line: Line) -> Line:
    protected, region = protect_pixels(job, sample.id, picture, target)
    image_format = picture.format if job.settings.image_format == "auto" else job.settings.image_format
    output = output_name(sample.image, image_format)
    data = encode_image(protected, picture, "png" if image_format == "png" else "jpeg")
    written = decode_image(data, output).pixels
    storage.write_file(storage.join(job.target, output), data)
    inside, outside = linf(picture.pixels, written, region)
    return replace(
        line,
        output=output,
        output_sha256=hashlib.sha256(data).hexdigest(),
        linf_inside=inside,
        linf_outside=outside,
        psnr=round(psnr(picture.pixels, written), 4),
    )


def protect_pixels(job: Job, image_id: str, picture: Picture, target: Target) -> tuple[np.ndarray, np.ndarray]:
    """The protected pixels, uint8 HxWx3, and the region in which epsilon applies, bool HxW."""
    region = np.ones_like(target.mask) if job.settings.prompt == "whole" else protected_region(target.mask)
    noise = job.method.noise(picture.pixels, target, image_id)
    if picture.grey:
        noise = np.broadcast_to(noise.mean(axis=0, keepdims=True), noise.shape)
    settings = job.settings
    changed = add_noise(picture.pixels, noise, region, epsilon=settings.epsilon, epsilon_bg=settings.epsilon_bg)
    return changed, region


def output_name(image: str, image_format: str) -> str:
    """The image's own name; with the format's extension where the format changes."""
    pure = PurePosixPath(image)
    fitting = {"png": (".png",), "jpeg": (".jpg", ".jpeg")}[image_format]
    return image if pure.suffix.lower() in fitting else pure.with_suffix(fitting[0]).as_posix()
