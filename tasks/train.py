"""Stage `train`: the bilevel training, from data/training and data/weights to data/generator."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from tasks.entry import run
from tasks.parameters import load_params
from tasks.results import write_csv, write_json
from tasks.weights import WEIGHTS
from tasks.work import work_folder
from unseg_core import storage
from unseg_core.data.layouts import open_layout
from unseg_core.device import choose_precision, prepare_device
from unseg_core.model.weights import count_parameters, load_generator, load_surrogate, save_weights
from unseg_core.params import Params
from unseg_core.train.dataset import TrainDataset, usable_samples
from unseg_core.train.health import check_health
from unseg_core.train.loop import EpochRecord, Players, make_players, train

GENERATOR = Path("data/generator")
HEALTH_SAMPLES = 64


def main(arguments: list[str]) -> None:
    params = load_params()
    inputs = [WEIGHTS, *(Path("data/training", name) for name in params.train.sources)]
    work = work_folder("train", asdict(params.train), inputs)
    device = prepare_device(params.runtime)
    precision = choose_precision(params.runtime.precision, device)
    generator, surrogate = (
        load_generator(WEIGHTS / "generator.safetensors"),
        load_surrogate(WEIGHTS / "surrogate.safetensors"),
    )
    layouts = [open_layout("auto", f"data/training/{name}") for name in params.train.sources]
    samples = usable_samples(layouts)
    players = make_players(generator.train(), surrogate.train(), params.train, device)
    trained = count_parameters(generator, trained_only=True)
    records = train(players, samples, params.train, work, precision=precision, on_epoch=_report)
    dataset = TrainDataset(samples, generator.size, params.train)
    _write(players, params, records, dataset, trained)
    storage.remove_folder(work)


def _report(record: EpochRecord) -> None:
    parts = f"bce {record.loss_bce:.4f}, dice {record.loss_dice:.4f}"
    print(f"epoch {record.epoch:3d} {record.phase:9s} loss {record.loss:.4f} ({parts})", flush=True)


def _write(players: Players, params: Params, records: list[EpochRecord], dataset: TrainDataset, trained: int) -> None:
    """Generator, card, metrics and curve."""
    dataset.epoch = params.train.epochs
    health = check_health(
        players.generator.eval(),
        players.surrogate.eval(),
        [dataset[i] for i in range(min(HEALTH_SAMPLES, len(dataset)))],
        params.train,
    )
    last = {record.phase: record.loss for record in records}
    recipe = {
        "size": params.weights.size,
        "seed": params.train.seed,
        "training": [{"name": name, "images": _count(name)} for name in params.train.sources],
        "epsilon": params.train.epsilon,
        "epsilon_bg": params.train.epsilon_bg,
        "epochs": params.train.epochs,
        "label_modification": params.train.label_modification,
    }
    sha256 = save_weights(players.generator, GENERATOR / "generator.safetensors", kind="generator", provenance=recipe)
    steps = -(-len(dataset) // params.train.batch_size) * params.train.epochs
    metrics = {
        "size": params.weights.size,
        "generator_sha256": sha256,
        "parameters": count_parameters(players.generator),
        "trained_parameters": trained,
        "images": len(dataset),
        "epochs": params.train.epochs,
        "steps": steps,
        "surrogate_loss": last["surrogate"],
        "generator_loss": last.get("generator"),
        **asdict(health),
    }
    write_csv("plots/train.csv", [asdict(record) for record in records])
    write_json("metrics/train.json", metrics)
    write_json(str(GENERATOR / "card.json"), {**recipe, "sha256": sha256})


def _count(name: str) -> int:
    return sum(1 for _ in open_layout("auto", f"data/training/{name}").samples())


if __name__ == "__main__":
    run(main)
