"""Evaluations for the report on one copy: results.json of `unseg evaluate`, or a metrics file of the pipeline."""

from __future__ import annotations

from pathlib import Path

from unseg_core.report.contents import Evaluation, SeedScore
from unseg_core.report.load import read_evaluation_files
from unseg_core.report.records import Record, read_json

REMEDY = "name a file that `unseg evaluate` or the stage evaluate has written"


def read_evaluations(path: Path, dataset: str) -> tuple[Evaluation, ...]:
    """All evaluations of one file.

    Args:
        path: results.json, or metrics/evaluate/RUN.json; a CSV file of the same name beside it, or in the same place
            below plots/, is the curve of a run.
        dataset: what the page calls the data set that results.json, which has only folders, is about.

    Raises:
        DataError: the file is missing, or a field is missing or of another type.
    """
    record = read_json(path, remedy=REMEDY)
    if "versions" not in record.values:
        return (_run(path),)
    return tuple(_version(record, version, dataset) for version in record.records("versions"))


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
