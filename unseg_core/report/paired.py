"""The paired bootstrap of every row against the clean one, from the scores by image that the evaluations left."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from unseg_core.evaluate.image_scores import ImageScore, from_rows
from unseg_core.evaluate.statistics import PairedComparison, compare_paired
from unseg_core.report.comparison import ComparisonRow
from unseg_core.report.contents import CLEAN_METHOD


def paired_comparisons(root: Path, rows: Sequence[ComparisonRow]) -> dict[str, PairedComparison]:
    """By run, for those that have scores by image (data/scores below `root`) and a clean run in their group that has.

    Raises:
        DataError: two runs of a group were tested on other images, or have no seed in common.
    """
    clean = {row.group: row.run for row in rows if row.method == CLEAN_METHOD}
    found: dict[str, PairedComparison] = {}
    for row in rows:
        if row.method == CLEAN_METHOD or row.group not in clean:
            continue
        ours, theirs = (_scores(root, run) for run in (row.run, clean[row.group]))
        if ours and theirs:
            found[row.run] = compare_paired(ours, theirs)
    return found


def _scores(root: Path, run: str) -> dict[int, tuple[ImageScore, ...]]:
    path = root / "data" / "scores" / f"{run}.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return from_rows(csv.DictReader(file))
