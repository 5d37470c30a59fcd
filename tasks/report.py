"""Stage `report`: the HTML report, and the comparison of all runs as a metric."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from tasks.entry import run
from tasks.parameters import PARAMS_FILE, load_params
from tasks.results import write_json
from unseg_core import storage
from unseg_core.data.dataset import open_dataset
from unseg_core.data.sample import Sample, annotation_for, select_target
from unseg_core.images import decode_image
from unseg_core.params import DatasetParams, Params
from unseg_core.protect.manifest import versions
from unseg_core.protect.region import protected_region
from unseg_core.report.comparison import compare, comparison_json
from unseg_core.report.load import load_contents
from unseg_core.report.page import render_report
from unseg_core.report.paired import paired_comparisons

REPORT = Path("data/report/report.html")


def main(arguments: list[str]) -> None:
    params = load_params()
    methods = ("unseg", *params.baselines.methods)
    contents = load_contents(
        Path(),
        profile=params.profile,
        runs=list(params.runs),
        protections=[f"{dataset}-{method}" for dataset in params.protect.datasets for method in methods],
        gallery=params.report.gallery,
        region_of=_regions(params),
        audits={name: f"{name} ({params.audit.method})" for name in params.audit.datasets},
        params_text=PARAMS_FILE.read_text(encoding="utf-8"),
        versions=versions(),
    )
    rows = compare(contents.evaluations)
    write_json("metrics/comparison.json", comparison_json(rows, paired_comparisons(Path(), rows)))
    storage.write_file(str(REPORT), render_report(contents).encode())
    for row in rows:
        ratio = "" if row.ratio_to_clean is None else f", {row.ratio_to_clean:.3f} of clean"
        print(f"{row.dataset} {row.method:8s} IoU {row.iou_mean:.4f}{ratio}")
    print(f"report: {REPORT}")


def _regions(params: Params) -> Callable[[str, str], np.ndarray | None]:
    @cache
    def opened(dataset: str) -> tuple[dict[str, Sample], DatasetParams]:
        layout, one = open_dataset(params.datasets[dataset], f"data/datasets/{dataset}")
        return {sample.image: sample for sample in layout.samples()}, one

    def region(dataset: str, image: str) -> np.ndarray | None:
        samples, one = opened(dataset)
        pixels = decode_image(Path("data/datasets", dataset, image).read_bytes(), image).pixels
        mask = select_target(annotation_for(samples[image], pixels), one.targets, one.classes).mask
        return protected_region(mask) if mask.any() else None

    return region


if __name__ == "__main__":
    run(main)
