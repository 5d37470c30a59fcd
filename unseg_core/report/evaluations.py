"""Evaluations for the report on one copy: results.json of `unseg evaluate`, or a metrics file of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unseg_core.errors import DataError
from unseg_core.report.contents import Evaluation, SeedScore
from unseg_core.report.load import read_evaluation_files
from unseg_core.report.records import Record, read_json

REMEDY = "name a file that `unseg evaluate` or the stage evaluate has written"


def read_evaluations(path: Path, dataset: str, summary: Mapping[str, Any]) -> tuple[Evaluation, ...]:
    """The evaluations of one file, without those of other copies by the same method.

    Args:
        path: results.json, or metrics/evaluate/RUN.json; a CSV file of the same name beside it, or in the same place
            below plots/, is the curve of a run.
        dataset: what the page calls the data set that results.json, which has only folders, is about.
        summary: the manifest's, of the copy that the page is about.

    Raises:
        DataError: the file is missing, a field is missing or of another type, or it has other copies only.
    """
    record = read_json(path, remedy=REMEDY)
    is_run = "versions" not in record.values
    every = [record] if is_run else record.records("versions")
    kept = [one for one in every if not _is_other_copy(one, summary)]
    if len(kept) < len(every) and not any(_manifest_of(one) == summary["manifest_sha256"] for one in kept):
        raise DataError(f"{path} is the evaluation of another copy; evaluate the one that the report is about")
    return (_run(path),) if is_run else tuple(_version(record, one, dataset) for one in kept)


def _is_other_copy(version: Record, summary: Mapping[str, Any]) -> bool:
    """By the same method, of which a share may be trained on, and with another manifest."""
    method = version.text("method").split(" ")[0]
    return method == summary["settings"]["method"] and _manifest_of(version) not in (None, summary["manifest_sha256"])


def _manifest_of(version: Record) -> object:
    """None for the originals, and in files of older versions."""
    return version.values.get("manifest_sha256")


def _run(path: Path) -> Evaluation:
    plotted = path.parent.parent.parent / "plots" / "evaluate" / f"{path.stem}.csv"
    curve = next((one for one in (path.with_suffix(".csv"), plotted) if one.is_file()), None)
    return read_evaluation_files(path, curve, remedy=REMEDY)


def _version(results: Record, version: Record, dataset: str) -> Evaluation:
    recipe, classes, share = results.record("recipe"), results.texts("classes"), version.fraction("protected_share")
    method = version.text("method")
    return Evaluation(
        run=version.text("name"),
        dataset=dataset,
        # A share of a copy is no measurement of the copy.
        method=f"{method} {share:.0%}" if 0.0 < share < 1.0 else method,
        model=recipe.text("model"),
        encoder=recipe.text("encoder"),
        classes=classes,
        train_images=version.count("train_images"),
        test_images=results.count("test_images"),
        seeds=tuple(_seed(seed, classes) for seed in version.records("seeds")),
        curve=(),
        defences=recipe.texts("defences"),
    )


def _seed(seed: Record, classes: tuple[str, ...]) -> SeedScore:
    by_class = seed.record("by_class")
    scores = {name: by_class.optional_fraction(name) for name in classes if name in by_class.values}
    return SeedScore(seed=seed.count("seed"), iou=seed.fraction("score"), class_iou=scores)
