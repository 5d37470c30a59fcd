"""The contents of a report, read from the files that the stages left under one root folder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from unseg_core import storage
from unseg_core.errors import DataError
from unseg_core.images import decode_image
from unseg_core.report.audit import read_audit
from unseg_core.report.contents import (
    PROTECTED_METHOD,
    Evaluation,
    EvaluationPoint,
    GalleryItem,
    PixelHistogram,
    ProtectionSummary,
    ReportContents,
    SeedScore,
    TrainPoint,
)
from unseg_core.report.records import Record, read_csv, read_json, read_json_lines

RegionOf = Callable[[str, str], NDArray[np.bool_] | None]
"""(data set, path of an image within it) -> its protected region HxW bool, or None where it has none."""

PHASES = ("surrogate", "generator")


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """An image of a copy: its id, its path below the source, and below the copy."""

    id: str
    image: str
    output: str


@dataclass(frozen=True, kw_only=True)
class CopyFiles:
    """Where the images of a copy and of its source are."""

    dataset: str
    source: str
    """Folder or URL, as is `copy`."""
    copy: str
    protected: Callable[[], Iterator[ImageFiles]]
    """All images that were protected, from the start at every call."""
    remedy: str
    """What to do about a file that is missing."""


def load_contents(
    root: Path,
    *,
    profile: str,
    runs: Sequence[str],
    protections: Sequence[str],
    gallery: int,
    region_of: RegionOf,
    audits: Mapping[str, str] = MappingProxyType({}),
    params_text: str = "",
    versions: Mapping[str, str] | None = None,
    git_commit: str | None = None,
    trained: bool = True,
    histogram_images: int = 32,
) -> ReportContents:
    """Everything the page shows, from metrics/, plots/ and data/ under `root`.

    `runs` are the keys of metrics/evaluate, `protections` those of metrics/protect (DATASET-METHOD), `audits` those of
    metrics/audit (DATASET) with the names to show; `gallery` images
    per copy made by the generator are shown and `histogram_images` counted, spread evenly over its manifest. With
    `trained` false the generator was not trained here and metrics/train.json is not read. Raises DataError naming the
    file that is missing or malformed and the stage that makes it (ImageError for an image).
    """
    summaries = tuple(read_protection(root, key) for key in protections)
    copies = [pipeline_copy(root, one.dataset) for one in summaries if one.method == PROTECTED_METHOD]
    return ReportContents(
        profile=profile,
        params_text=params_text,
        git_commit=git_commit,
        versions=dict(versions or {}),
        train=read_train_metrics(root) if trained else None,
        train_curve=read_train_curve(root) if trained else (),
        protections=summaries,
        evaluations=tuple(read_evaluation(root, run) for run in runs),
        audits=tuple(read_audit(root / "metrics/audit" / f"{key}.json", name) for key, name in audits.items()),
        galleries=tuple(item for copy in copies for item in read_gallery(copy, gallery, region_of)),
        histograms=tuple(read_histogram(copy, histogram_images) for copy in copies),
    )


def pipeline_copy(root: Path, dataset: str) -> CopyFiles:
    """The copy that the stage `protect` has made with the generator."""
    remedy = _protection_remedy(f"{dataset}-{PROTECTED_METHOD}")
    copy = root / "data" / "protected" / dataset / PROTECTED_METHOD

    def protected() -> Iterator[ImageFiles]:
        for record in read_json_lines(copy / "manifest.jsonl", remedy=remedy):
            if record.text("status") == "protected":
                image = _below(record, "image")
                output = _below(record, "output") if "output" in record.values else image
                yield ImageFiles(id=record.text("id"), image=image, output=output)

    source = str(root / "data" / "datasets" / dataset)
    return CopyFiles(dataset=dataset, source=source, copy=str(copy), protected=protected, remedy=remedy)


def _below(record: Record, name: str) -> str:
    path = record.text(name)
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise DataError(f"{record.where}: the {name} path {path!r} leaves the data set; {record.remedy}")
    return path


def read_train_metrics(root: Path) -> dict[str, str | int | float]:
    """Texts and numbers of metrics/train.json by name; what is nested there is for other readers."""
    record = read_json(root / "metrics" / "train.json", remedy=_remedy("train"))
    return {name: _plain(record, name) for name, value in record.values.items() if not isinstance(value, dict)}


def read_train_curve(root: Path) -> tuple[TrainPoint, ...]:
    """plots/train.csv, one point per epoch."""
    return tuple(
        TrainPoint(epoch=row.count("epoch"), phase=_phase(row), loss=row.number("loss"))
        for row in read_csv(root / "plots" / "train.csv", remedy=_remedy("train"))
    )


def read_protection(root: Path, key: str) -> ProtectionSummary:
    """metrics/protect/KEY.json, with KEY = DATASET-METHOD."""
    record = read_json(root / "metrics" / "protect" / f"{key}.json", remedy=_protection_remedy(key))
    verified = record.record("verified")
    return ProtectionSummary(
        dataset=record.text("dataset"),
        method=record.text("method"),
        generator_sha256=record.optional_text("generator_sha256"),
        prompt=record.text("prompt"),
        epsilon=record.number("epsilon"),
        epsilon_bg=record.number("epsilon_bg"),
        images=record.count("images"),
        protected=record.count("protected"),
        no_target=record.count("no_target"),
        failed=record.count("failed"),
        linf_inside=record.number("linf_inside"),
        linf_outside=record.number("linf_outside"),
        psnr=record.optional_number("psnr"),
        checked=verified.count("checked"),
        differences=verified.count("differences"),
        over_budget=verified.count("over_budget"),
        # Metrics of older versions do not have it.
        other_pictures=verified.count("other_pictures") if "other_pictures" in verified.values else 0,
        manifest_sha256=record.text("manifest_sha256"),
    )


def read_evaluation(root: Path, run: str) -> Evaluation:
    """metrics/evaluate/RUN.json and plots/evaluate/RUN.csv."""
    metrics, curve = root / "metrics" / "evaluate" / f"{run}.json", root / "plots" / "evaluate" / f"{run}.csv"
    return read_evaluation_files(metrics, curve, remedy=_remedy(f"evaluate@{run}"))


def read_evaluation_files(metrics: Path, curve: Path | None, *, remedy: str) -> Evaluation:
    """The metrics of one evaluation, with its curve where there is a file of it."""
    record = read_json(metrics, remedy=remedy)
    classes = record.texts("classes")
    return Evaluation(
        run=record.text("run"),
        dataset=record.text("dataset"),
        method=record.text("method"),
        model=record.text("model"),
        encoder=record.text("encoder"),
        classes=classes,
        train_images=record.count("train_images"),
        test_images=record.count("test_images"),
        seeds=tuple(_seed_score(seed, classes) for seed in record.records("seeds")),
        defences=record.texts("defences") if "defences" in record.values else (),
        curve=tuple(
            EvaluationPoint(
                seed=row.count("seed"),
                epoch=row.count("epoch"),
                train_loss=row.number("train_loss"),
                test_iou=row.optional_fraction("test_iou"),
            )
            for row in (read_csv(curve, remedy=remedy) if curve else ())
        ),
    )


def read_gallery(copy: CopyFiles, count: int, region_of: RegionOf) -> Iterator[GalleryItem]:
    """At most `count` protected images, spread evenly over the manifest."""
    for one in _spread(copy, count):
        clean, protected = _pair(copy, one)
        region = region_of(copy.dataset, one.image)
        yield GalleryItem(dataset=copy.dataset, id=one.id, clean=clean, protected=protected, region=region)


def read_histogram(copy: CopyFiles, count: int) -> PixelHistogram:
    """Pixel values of at most `count` protected images and of their originals."""
    counts = np.zeros((2, 256), dtype=np.int64)
    chosen = _spread(copy, count)
    for one in chosen:
        for row, image in enumerate(_pair(copy, one)):
            counts[row] += np.bincount(image.reshape(-1), minlength=256)
    return PixelHistogram(dataset=copy.dataset, images=len(chosen), clean=counts[0], protected=counts[1])


def _spread(copy: CopyFiles, count: int) -> list[ImageFiles]:
    """`count` of the protected images at even distances; two passes, so that none is kept in vain."""
    total = sum(1 for _ in copy.protected())
    wanted = {index * total // count for index in range(count)} if count and total else set()
    return [one for index, one in enumerate(copy.protected()) if index in wanted]


def _pair(copy: CopyFiles, one: ImageFiles) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    paths = (storage.join(copy.source, one.image), storage.join(copy.copy, one.output))
    for path in paths:
        if not storage.exists(path):
            raise DataError(f"{path}: there is no such file, but the manifest lists it; {copy.remedy}")
    clean, protected = (decode_image(storage.read_file(path), path).pixels for path in paths)
    if clean.shape != protected.shape:
        raise DataError(f"{paths[1]}: its size is {protected.shape}, the original's {clean.shape}; {copy.remedy}")
    return clean, protected


def _seed_score(record: Record, classes: Sequence[str]) -> SeedScore:
    scores = record.record("class_iou")
    class_iou = {name: scores.optional_fraction(name) for name in classes}
    return SeedScore(seed=record.count("seed"), iou=record.fraction("iou"), class_iou=class_iou)


def _phase(row: Record) -> str:
    phase = row.text("phase")
    if phase not in PHASES:
        raise DataError(f"{row.where}: the phase must be one of {', '.join(PHASES)}, not {phase!r}; {row.remedy}")
    return phase


def _plain(record: Record, name: str) -> str | int | float:
    value = record.values[name]
    if isinstance(value, str):
        return value
    return value if isinstance(value, int) and not isinstance(value, bool) else record.number(name)


def _protection_remedy(key: str) -> str:
    stage = "protect" if key.endswith(f"-{PROTECTED_METHOD}") else "baseline"
    return _remedy(f"{stage}@{key.removesuffix(f'-{PROTECTED_METHOD}')}")


def _remedy(stage: str) -> str:
    return f"make it with `dvc repro {stage}`"
