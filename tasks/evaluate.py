"""Stage `evaluate@RUN`: train a downstream model on one version of a data set, test it on clean images."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from pathlib import Path

from tasks.entry import chosen, run
from tasks.parameters import load_params
from tasks.results import write_csv, write_json
from tasks.work import work_folder
from unseg_core import storage
from unseg_core.data.dataset import open_dataset
from unseg_core.data.layouts import Layout
from unseg_core.evaluate.dataset import LabelledImages, load_split
from unseg_core.evaluate.run import SeedResult, evaluate_seeds
from unseg_core.params import EvaluateParams, Params, RunParams

CLEAN = "clean"


def main(arguments: list[str]) -> None:
    (name,) = arguments
    params = load_params()
    one = chosen("runs", name, params.runs)
    dataset, recipe = params.datasets[one.dataset], params.evaluate
    original, dataset = open_dataset(dataset, f"data/datasets/{one.dataset}")
    train, test = _splits(params, one, original)
    inputs = [Path("data/datasets", one.dataset), Path(one.train_on)]
    work = work_folder(f"evaluate-{name}", [asdict(recipe), asdict(dataset), asdict(one)], inputs)
    results = evaluate_seeds(train, test, dataset.classes, recipe, params.runtime, work)
    counts = {"train_images": len(train.ids), "test_images": len(test.ids)}
    write_csv(f"plots/evaluate/{name}.csv", [asdict(point) for result in results for point in result.curve])
    metrics = _metrics(name, one, recipe, dataset.classes, results)
    write_json(f"metrics/evaluate/{name}.json", {**metrics, **counts})
    storage.remove_folder(work)
    print(f"{name}: IoU {metrics['iou_mean']:.4f} on {len(test.ids)} clean test images, {len(results)} seeds")


def _splits(params: Params, one: RunParams, original: Layout) -> tuple[LabelledImages, LabelledImages]:
    """Training images from the version under test, test images always from the original."""
    dataset = params.datasets[one.dataset]
    version = original if one.train_on == original.root else open_dataset(dataset, one.train_on)[0]
    share, size = dataset.test_share, params.evaluate.size
    train = load_split(version, test=False, test_share=share, size=size)
    test = load_split(original, test=True, test_share=share, size=size)
    return train, test


def _metrics(
    name: str, one: RunParams, recipe: EvaluateParams, classes: tuple[str, ...], results: list[SeedResult]
) -> dict[str, object]:
    scores = [result.iou for result in results]
    seeds = [{"seed": r.seed, "iou": r.iou, "class_iou": r.class_iou, "train_loss": r.train_loss} for r in results]
    return {
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


if __name__ == "__main__":
    run(main)
