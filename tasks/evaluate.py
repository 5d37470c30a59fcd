"""Stage `evaluate@RUN`: train a downstream model on one version of a data set, test it on clean images."""

from __future__ import annotations

import os
import statistics
from dataclasses import asdict, replace
from pathlib import Path

from tasks.entry import chosen, run
from tasks.parameters import load_params
from tasks.results import write_csv, write_json
from tasks.work import work_folder
from unseg_core import storage
from unseg_core.data.dataset import open_dataset, open_tested
from unseg_core.device import prepare_device
from unseg_core.evaluate.defences import parse_defences
from unseg_core.evaluate.image_scores import score_rows
from unseg_core.evaluate.run import SeedResult, evaluate_seeds
from unseg_core.evaluate.scoring import METERS
from unseg_core.evaluate.splits import open_splits
from unseg_core.params import EXECUTION, DatasetParams, EvaluateParams, RunParams, RuntimeParams
from unseg_core.protect.manifest import read_summary
from unseg_core.train.launch import launch, processes_wanted
from unseg_core.train.processes import join_processes, processes_from

CLEAN = "clean"


def main(arguments: list[str]) -> int | None:
    (name,) = arguments
    params = load_params()
    one = chosen("runs", name, params.runs)
    recipe = params.recipe(name)
    parse_defences(recipe.defences)
    processes, wanted = processes_from(os.environ), processes_wanted(params.runtime.processes)
    if processes.count == 1 and wanted > 1:
        return launch("tasks.evaluate", arguments, wanted)
    join_processes(processes, prepare_device(params.runtime))
    original, dataset = open_dataset(params.datasets[one.dataset], f"data/datasets/{one.dataset}")
    copy = None if one.train_on == original.root else open_dataset(dataset, one.train_on)[0]
    tested = open_tested(dataset, original.root)
    share = 0 if tested else dataset.test_share
    train, test = open_splits(
        original, copy, recipe, test_share=share, protected_share=one.protected_share, tested=tested
    )
    work = _work(name, one, recipe, dataset, params.runtime)
    results = evaluate_seeds(train, test, dataset.classes, recipe, params.runtime, work, processes=processes)
    if not processes.first:
        return None
    counts = {"train_images": len(train.ids), "test_images": len(test.ids)}
    write_csv(f"plots/evaluate/{name}.csv", [asdict(point) for result in results for point in result.curve])
    write_csv(f"data/scores/{name}.csv", list(score_rows(results)))
    metrics = _metrics(name, one, recipe, dataset.classes, results)
    if copy is not None:
        metrics["manifest_sha256"] = read_summary(copy.root)["manifest_sha256"]
    write_json(f"metrics/evaluate/{name}.json", {**metrics, **counts})
    storage.remove_folder(work)
    score = f"{METERS[recipe.task][0]} {metrics['iou_mean']:.4f}"
    print(f"{name}: {score} on {len(test.ids)} clean test images, {len(results)} seeds")
    return None


def _work(name: str, one: RunParams, recipe: EvaluateParams, dataset: DatasetParams, runtime: RuntimeParams) -> Path:
    """Named by what decides a seed's result, so that other seeds may be added."""
    settings = {key: value for key, value in asdict(recipe).items() if key not in ("seeds", *EXECUTION)}
    inputs = [Path("data/datasets", one.dataset), Path(one.train_on)]
    made_by = [settings, asdict(dataset), asdict(replace(one, evaluate={})), runtime.precision, runtime.device]
    return work_folder(f"evaluate-{name}", made_by, inputs)


def _method(one: RunParams) -> str:
    """As the report calls it; a share of a copy is another method than the copy."""
    if one.train_on.startswith("data/datasets/"):
        return CLEAN
    share = "" if one.protected_share == 1 else f" {one.protected_share:.0%}"
    return Path(one.train_on).name + share


def _metrics(
    name: str, one: RunParams, recipe: EvaluateParams, classes: tuple[str, ...], results: list[SeedResult]
) -> dict[str, object]:
    scores = [result.iou for result in results]
    seeds: list[dict[str, object]] = [
        {"seed": r.seed, "iou": r.iou, "class_iou": r.class_iou, "train_loss": r.train_loss} for r in results
    ]
    metrics: dict[str, object] = {
        "run": name,
        "dataset": one.dataset,
        "method": _method(one),
        "model": recipe.model,
        "encoder": recipe.encoder,
        "classes": list(classes),
        "seeds": seeds,
        "iou_mean": statistics.fmean(scores),
        "iou_std": statistics.stdev(scores) if len(scores) > 1 else None,
    }
    if one.protected_share < 1:
        metrics["protected_share"] = one.protected_share
    if recipe.defences:
        metrics["defences"] = list(recipe.defences)
    if recipe.task == "semantic":
        return metrics
    # What `iou` stands for, and the task's other scores.
    every = [
        {**seed, "class_iou": {one: result.class_iou.get(one) for one in classes}, "scores": result.scores}
        for seed, result in zip(seeds, results, strict=True)
    ]
    # An IoU is iou_mean already.
    names = dict.fromkeys(name for result in results for name in result.scores if name != "IoU")
    means = {
        f"{name}_mean": statistics.fmean(result.scores[name] for result in results if name in result.scores)
        for name in names
    }
    return {**metrics, **means, "task": recipe.task, "metric": METERS[recipe.task][0], "seeds": every}


if __name__ == "__main__":
    run(main)
