"""The contents of a report, read from the files that the stages left under one root folder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from unseg_core.errors import DataError
from unseg_core.images import decode_image
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


def load_contents(
    root: Path,
    *,
    profile: str,
    runs: Sequence[str],
    protections: Sequence[str],
    gallery: int,
    region_of: RegionOf,
    params_text: str = "",
    versions: Mapping[str, str] | None = None,
    git_commit: str | None = None,
    trained: bool = True,
    histogram_images: int = 32,
) -> ReportContents:
    """Everything the page shows, from metrics/, plots/ and data/ under `root`.

    `runs` are the keys of metrics/evaluate, `protections` those of metrics/protect (DATASET-METHOD); `gallery` images
    per copy made by the generator are shown and `histogram_images` counted, spread evenly over its manifest. With
    `trained` false the generator was not trained here and metrics/train.json is not read. Raises DataError naming the
    file that is missing or malformed and the stage that makes it (ImageError for an image).
    """
    summaries = tuple(read_protection(root, key) for key in protections)
    copies = [summary.dataset for summary in summaries if summary.method == PROTECTED_METHOD]
    return ReportContents(
        profile=profile,
        params_text=params_text,
        git_commit=git_commit,
        versions=dict(versions or {}),
        train=read_train_metrics(root) if trained else None,
        train_curve=read_train_curve(root) if trained else (),
        protections=summaries,
        evaluations=tuple(read_evaluation(root, run) for run in runs),
        galleries=tuple(item for dataset in copies for item in read_gallery(root, dataset, gallery, region_of)),
        histograms=tuple(read_histogram(root, dataset, histogram_images) for dataset in copies),
    )


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
        manifest_sha256=record.text("manifest_sha256"),
    )


def read_evaluation(root: Path, run: str) -> Evaluation:
    """metrics/evaluate/RUN.json and plots/evaluate/RUN.csv."""
    remedy = _remedy(f"evaluate@{run}")
    record = read_json(root / "metrics" / "evaluate" / f"{run}.json", remedy=remedy)
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
        curve=tuple(
            EvaluationPoint(
                seed=row.count("seed"),
                epoch=row.count("epoch"),
                train_loss=row.number("train_loss"),
                test_iou=row.optional_fraction("test_iou"),
            )
            for row in read_csv(root / "plots" / "evaluate" / f"{run}.csv", remedy=remedy)
        ),
    )


def read_gallery(root: Path, dataset: str, count: int, region_of: RegionOf) -> Iterator[GalleryItem]:
    """At most `count` images of a protected data set, spread evenly over its manifest."""
    for record in _spread(root, dataset, count):
        clean, protected = _pair(root, dataset, record)
        region = region_of(dataset, record.text("image"))
        yield GalleryItem(dataset=dataset, id=record.text("id"), clean=clean, protected=protected, region=region)


def read_histogram(root: Path, dataset: str, count: int) -> PixelHistogram:
    """Pixel values of at most `count` images of a protected data set and of their originals."""
    counts = np.zeros((2, 256), dtype=np.int64)
    records = _spread(root, dataset, count)
    for record in records:
        for row, image in enumerate(_pair(root, dataset, record)):
            counts[row] += np.bincount(image.reshape(-1), minlength=256)
    return PixelHistogram(dataset=dataset, images=len(records), clean=counts[0], protected=counts[1])


def _spread(root: Path, dataset: str, count: int) -> list[Record]:
    """`count` of the protected records of a manifest at even distances; two passes, so that none is kept in vain."""
    total = sum(1 for _ in _protected_records(root, dataset))
    wanted = {index * total // count for index in range(count)} if count and total else set()
    return [record for index, record in enumerate(_protected_records(root, dataset)) if index in wanted]


def _protected_records(root: Path, dataset: str) -> Iterator[Record]:
    path = root / "data" / "protected" / dataset / PROTECTED_METHOD / "manifest.jsonl"
    for record in read_json_lines(path, remedy=_protection_remedy(f"{dataset}-{PROTECTED_METHOD}")):
        if record.text("status") == "protected":
            yield record


def _pair(root: Path, dataset: str, record: Record) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image = record.text("image")
    if PurePosixPath(image).is_absolute() or ".." in PurePosixPath(image).parts:
        raise DataError(f"{record.where}: the image path {image!r} leaves the data set; {record.remedy}")
    data = root / "data"
    paths = (data / "datasets" / dataset / image, data / "protected" / dataset / PROTECTED_METHOD / image)
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: there is no such file, but {record.where} lists it; {record.remedy}")
    clean, protected = (decode_image(path.read_bytes(), str(path)).pixels for path in paths)
    if clean.shape != protected.shape:
        raise DataError(f"{paths[1]}: its size is {protected.shape}, the original's {clean.shape}; {record.remedy}")
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
