"""Several versions of one data set compared: the original and its protected copies, each trained on with all seeds."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from unseg_core import storage
from unseg_core.data.layouts import Layout, open_layout
from unseg_core.device import prepare_device
from unseg_core.errors import ParameterError
from unseg_core.evaluate.defences import parse_defences
from unseg_core.evaluate.image_scores import score_rows
from unseg_core.evaluate.run import Evaluation, SeedResult, evaluate_all
from unseg_core.evaluate.scoring import METERS
from unseg_core.evaluate.splits import open_placed, open_test, training_samples
from unseg_core.evaluate.statistics import compare_paired, mean_and_deviation
from unseg_core.evaluate.training import ALONE
from unseg_core.params import EXECUTION, EvaluateParams, RuntimeParams, check_range
from unseg_core.protect.manifest import read_summary
from unseg_core.protect.origin import recorded_annotations, recorded_masks
from unseg_core.train.processes import Processes, join_processes

CLEAN = "clean"
RESULTS = "results.json"


@dataclass(frozen=True, kw_only=True)
class Version:
    """What one evaluation trains on."""

    name: str
    original: Layout
    copy: Layout | None = None
    """None: the original itself."""
    protected_share: float = 1.0
    labels: tuple[str, str] = ("", "")
    """Masks and annotations of the original, as protect.origin records them; empty: those in the layout's own place."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is to be compared, and how."""

    versions: Sequence[Version]
    """The first is the reference."""
    params: EvaluateParams
    runtime: RuntimeParams
    test_share: float
    out: Path
    tested: Layout | None = None
    """Another split of the original, all of which is tested on; `test_share` is 0 then."""
    processes: Processes = ALONE


def versions_of(
    layout: str,
    source: str,
    copies: Sequence[str],
    shares: Sequence[float],
    *,
    classes: Sequence[str] | None = None,
    masks: str | None = None,
    split: str | None = None,
    annotations: str | None = None,
) -> list[Version]:
    """The original, and each copy with each share.

    Args:
        masks: the original's and the copies', if not in the layout's own place.

    Raises:
        DataError, ParameterError: a folder is not in the layout, or a share is out of range.
    """
    elsewhere = partial(open_layout, classes=classes, masks=masks, split=split, annotations=annotations)
    original = elsewhere(layout, source)
    labels = (recorded_masks(source, masks), recorded_annotations(source, annotations))
    versions = [Version(name=CLEAN, original=original, labels=labels)]
    for root in copies:
        copy = elsewhere(original.name, root)
        for share in shares:
            check_range("protected_share", share, 0.0, 1.0)
            name = root.rstrip("/").rsplit("/", 1)[-1] + (f" {share:.0%}" if share < 1 else "")
            if name in {one.name for one in versions}:
                raise ParameterError(f"two versions are called {name!r}; rename a folder")
            version = Version(name=name, original=original, copy=copy, protected_share=share, labels=labels)
            versions.append(version)
    return versions


def compare_versions(comparison: Comparison) -> dict[str, Any]:
    """Train and test all; writes and returns results.json (empty in all processes but the first).

    Scores by image go to NAME.csv beside it. Finished seeds are kept for the next time.

    Raises:
        DataError: a copy is not one of the original.
        TrainingError: a loss is not finite.
        ParameterError: an unknown model, encoder or defence.
    """
    params = comparison.params
    parse_defences(params.defences)
    if comparison.tested is None:
        check_range("test_share", comparison.test_share, 0.01, 0.99)
    join_processes(comparison.processes, prepare_device(comparison.runtime))
    original = comparison.versions[0].original
    # All of them first: a wrong copy is to be found before hours are spent on the others.
    placed = [
        training_samples(one.original, one.copy, comparison.test_share, one.protected_share)
        for one in comparison.versions
    ]
    test = open_test(original, params, test_share=comparison.test_share, tested=comparison.tested)
    evaluations = [
        Evaluation(
            name=version.name,
            open_train=partial(open_placed, samples, params),
            work=comparison.out / ".work" / _fingerprint(comparison, version),
        )
        for version, samples in zip(comparison.versions, placed, strict=True)
    ]
    every = evaluate_all(
        evaluations, test, original.classes, params, comparison.runtime, processes=comparison.processes
    )
    if not comparison.processes.first:
        return {}
    result = _result(comparison, len(test.ids), every, [len(samples) for samples in placed])
    for version, results in zip(comparison.versions, every, strict=True):
        storage.write_file(str(comparison.out / f"{version.name}.csv"), _table(results))
    storage.write_file(str(comparison.out / RESULTS), (json.dumps(result, indent=2, sort_keys=True) + "\n").encode())
    return result


def _result(
    comparison: Comparison, test_images: int, every: Sequence[Sequence[SeedResult]], train_images: Sequence[int]
) -> dict[str, Any]:
    """What results.json has, from the seeds and the number of training images of every version."""
    params, original = comparison.params, comparison.versions[0].original
    found = zip(comparison.versions, every, train_images, strict=True)
    return {
        "source": original.root,
        "metric": METERS[params.task][0],
        "classes": list(original.classes),
        "recipe": {key: value for key, value in asdict(params).items() if key not in EXECUTION},
        "test_images": test_images,
        "versions": [
            {**_summary(version, results, every[0] if number else None), "train_images": images}
            for number, (version, results, images) in enumerate(found)
        ],
    }


def _table(results: Sequence[SeedResult]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["seed", "image", "class", "above", "below"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(score_rows(results))
    return text.getvalue().encode()


def _fingerprint(comparison: Comparison, version: Version) -> str:
    """Of everything that decides the result of a seed."""
    whole = asdict(replace(comparison.params, seeds=(0,)))
    recipe = {key: value for key, value in whole.items() if key not in EXECUTION}
    runtime = {"precision": comparison.runtime.precision, "device": comparison.runtime.device}
    original = version.original
    data: list[object] = [original.name, list(original.classes), sorted(storage.list_sizes(original.root))]
    data += [version.labels, [sample.id for sample in original.samples()]]
    if version.copy is not None:
        data += [read_summary(version.copy.root)["manifest_sha256"], version.protected_share]
    test = [sample.id for sample in comparison.tested.samples()] if comparison.tested else comparison.test_share
    text = json.dumps([recipe, runtime, test, data], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _summary(version: Version, results: Sequence[SeedResult], reference: Sequence[SeedResult] | None) -> dict[str, Any]:
    mean, deviation = mean_and_deviation([one.iou for one in results])
    copy = read_summary(version.copy.root) if version.copy else None
    summary: dict[str, Any] = {
        "name": version.name,
        "root": (version.copy or version.original).root,
        "method": copy["settings"]["method"] if copy else CLEAN,
        "manifest_sha256": copy["manifest_sha256"] if copy else None,
        "protected_share": version.protected_share if version.copy else 0.0,
        "mean": mean,
        "deviation": deviation,
        "seeds": [
            {"seed": r.seed, "score": r.iou, "by_class": r.class_iou, "scores": r.scores, "train_loss": r.train_loss}
            for r in results
        ],
    }
    if reference is None:
        return summary
    paired = compare_paired({one.seed: one.images for one in results}, {one.seed: one.images for one in reference})
    return {
        **summary,
        "difference": asdict(paired.difference),
        "ratio": asdict(paired.ratio) if paired.ratio else None,
    }


def comparison_text(result: Mapping[str, Any]) -> str:
    """The result as a Markdown table."""
    lines = [
        f"| trained on | {result['metric']} | of clean | seeds |",
        "| --- | --- | --- | --- |",
    ]
    for one in result["versions"]:
        ratio = one.get("ratio")
        of_clean = f"{ratio['value']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})" if ratio else "-"
        spread = f" ± {one['deviation']:.3f}" if one["deviation"] is not None else ""
        lines.append(f"| {one['name']} | {one['mean']:.3f}{spread} | {of_clean} | {len(one['seeds'])} |")
    return "\n".join(lines)
