"""Stage `evaluate@RUN`: train a downstream model on one version of a data set, test it on clean images."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tasks.entry import chosen, run
from tasks.parameters import load_params
from tasks.results import write_csv, write_json
from tasks.work import work_folder
from unseg_core import storage
from unseg_core.data.dataset import open_dataset
from unseg_core.data.layouts import Layout
from unseg_core.evaluate.dataset import load_split
from unseg_core.evaluate.run import SeedResult, Split, evaluate_seeds
from unseg_core.evaluate.scoring import METERS, SEMANTIC
from unseg_core.evaluate.segmented import open_split
from unseg_core.params import EvaluateParams, Params, RunParams

CLEAN = "clean"


def main(arguments: list[str]) -> None:
    (name,) = arguments
    params = load_params()
    one = chosen("runs", name, params.runs)
    dataset, recipe = params.datasets[one.dataset], params.recipe(name)
    original, dataset = open_dataset(dataset, f"data/datasets/{one.dataset}")
    train, test = _splits(params, one, recipe, original)
    inputs = [Path("data/datasets", one.dataset), Path(one.train_on)]
    work = work_folder(f"evaluate-{name}", [asdict(recipe), asdict(dataset), asdict(one)], inputs)
    results = evaluate_seeds(train, test, dataset.classes, recipe, params.runtime, work)
    counts = {"train_images": len(train.ids), "test_images": len(test.ids)}
    write_csv(f"plots/evaluate/{name}.csv", [asdict(point) for result in results for point in result.curve])
    metrics = _metrics(name, one, recipe, dataset.classes, results)
    write_json(f"metrics/evaluate/{name}.json", {**metrics, **counts})
    storage.remove_folder(work)
    score = f"{METERS[recipe.task][0]} {metrics['iou_mean']:.4f}"
    print(f"{name}: {score} on {len(test.ids)} clean test images, {len(results)} seeds")


def _splits(params: Params, one: RunParams, recipe: EvaluateParams, original: Layout) -> tuple[Split, Split]:
    """Training images from the version under test, test images always from the original."""
    dataset = params.datasets[one.dataset]
    version = original if one.train_on == original.root else open_dataset(dataset, one.train_on)[0]
    share, size = dataset.test_share, recipe.size
    load: Callable[..., Split] = load_split if recipe.task in SEMANTIC else open_split
    train = load(version, test=False, test_share=share, size=size)
    test = load(original, test=True, test_share=share, size=size)
    return train, test


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
        "method": CLEAN if one.train_on.startswith("data/datasets/") else Path(one.train_on).name,
        "model": recipe.model,
        "encoder": recipe.encoder,
        "classes": list(classes),
        "seeds": seeds,
        "iou_mean": statistics.fmean(scores),
        "iou_std": statistics.stdev(scores) if len(scores) > 1 else None,
    }
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
