"""A whole training: from weights and sources to a generator with its card. Command line and stage call this."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unseg_core.device import choose_precision, prepare_device
from unseg_core.model.fingerprint import generator_sha256
from unseg_core.model.noise_filters import DEFAULT_FILTER
from unseg_core.model.weights import (
    count_parameters,
    load_generator,
    load_surrogate,
    read_metadata,
    save_weights,
)
from unseg_core.params import RuntimeParams, TrainParams
from unseg_core.storage import write_file
from unseg_core.train.card import model_card
from unseg_core.train.checkpoint import Position, recipe_of
from unseg_core.train.dataset import TrainSource, list_samples
from unseg_core.train.files import CARD_FILE, GENERATOR_FILE, MODEL_CARD, PANEL_FILE, SURROGATE_FILE
from unseg_core.train.loop import Observer, Run, Silent, make_players, train
from unseg_core.train.processes import Processes, join_processes, leave_processes
from unseg_core.train.records import EpochRecord
from unseg_core.train.validate import ValidationSet

LISTED_SKIPPED = 20


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """What a training needs."""

    sources: Sequence[TrainSource]
    validation: Sequence[TrainSource] = ()
    weights: Path
    """Folder with the start of both players, as `unseg weights` writes it."""
    output: Path
    """Folder of the generator, its card and its panel."""
    work: Path
    """Folder of the checkpoints."""
    params: TrainParams
    runtime: RuntimeParams
    processes: Processes = field(default_factory=Processes)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The outcome."""

    metrics: dict[str, Any]
    records: list[EpochRecord]


class _Panels:
    """Passes everything on and keeps the last panel in the work folder."""

    def __init__(self, work: Path, observer: Observer) -> None:
        self.work = work
        self.inner = observer
        self.step = observer.step

    def epoch(self, record: EpochRecord, panel_png: bytes) -> None:
        write_file(str(self.work / PANEL_FILE), panel_png)
        self.inner.epoch(record, panel_png)


def open_run(job: TrainJob, observer: Observer | None = None, stop: Callable[[], bool] = lambda: False) -> Run:
    """Load weights and samples, on this process's device.

    Raises:
        WeightsError, DataError, ParameterError: weights, sources or settings cannot be used.
    """
    device = join_processes(job.processes, prepare_device(job.runtime))
    generator = load_generator(job.weights / GENERATOR_FILE).train()
    surrogate = load_surrogate(job.weights / SURROGATE_FILE).train()
    return Run(
        players=make_players(generator, surrogate, job.params, device),
        samples=list_samples(job.sources),
        params=job.params,
        work=job.work,
        validation=[ValidationSet(name=one.name, samples=list_samples([one])) for one in job.validation],
        precision=choose_precision(job.runtime.precision, device),
        processes=job.processes,
        workers=job.runtime.workers,
        observer=_Panels(job.work, observer or Silent()),
        stop=stop,
    )


def run_training(
    job: TrainJob, observer: Observer | None = None, stop: Callable[[], bool] = lambda: False
) -> Trained | None:
    """Train to the end and write the generator; None in all processes but the first.

    Raises:
        UnsegError: as `open_run` and `train`.
        Interrupted: `stop` said so; the same call continues.
    """
    run = open_run(job, observer, stop)
    trained = count_parameters(run.players.generator, trained_only=True)
    try:
        position = train(run)
    finally:
        leave_processes()
    return _write(job, run, position, trained) if job.processes.first else None


def _write(job: TrainJob, run: Run, position: Position, trained: int) -> Trained:
    generator = run.players.generator.eval()
    recipe = {
        **recipe_of(job.params),
        "size": generator.size.name,
        **({} if generator.noise_filter == DEFAULT_FILTER else {"noise_filter": generator.noise_filter}),
        "precision": run.precision,
        "training": [_describe(source) for source in job.sources],
        "initialisation": json.loads(read_metadata(job.weights / GENERATOR_FILE)["provenance"])["initialisation"],
        "start": {name: generator_sha256(job.weights / name) for name in (GENERATOR_FILE, SURROGATE_FILE)},
    }
    sha256 = save_weights(
        generator,
        job.output / GENERATOR_FILE,
        kind="generator",
        provenance=recipe,
        epsilon=job.params.epsilon,
        epsilon_bg=job.params.epsilon_bg,
    )
    last = position.records[-1]
    losses = {record.phase: record.loss for record in position.records}
    metrics = {
        "size": generator.size.name,
        "generator_sha256": sha256,
        "parameters": count_parameters(generator),
        "trained_parameters": trained,
        "images": len(run.samples),
        "epochs": job.params.epochs,
        "steps": position.step,
        "surrogate_loss": losses.get("surrogate"),
        "generator_loss": losses.get("generator"),
        **asdict(last.health),
        "skipped": dict(sorted(Counter(position.skipped.values()).items())),
        "validation": {name: asdict(scores) for name, scores in last.validation.items()},
    }
    write_file(str(job.output / PANEL_FILE), (job.work / PANEL_FILE).read_bytes())
    skipped = dict(sorted(position.skipped.items())[:LISTED_SKIPPED])
    card = {**recipe, "sha256": sha256, "metrics": metrics, "skipped": skipped}
    write_file(str(job.output / CARD_FILE), (json.dumps(card, indent=2, sort_keys=True) + "\n").encode())
    write_file(str(job.output / MODEL_CARD), model_card(recipe, metrics).encode())
    return Trained(metrics=metrics, records=position.records)


def _describe(source: TrainSource) -> dict[str, Any]:
    """Name, number of images, and the sha256 of their ids, so that two cards can be compared."""
    ids = [sample.id for sample in source.layout.samples()]
    return {
        "name": source.name,
        "images": len(ids),
        "ids_sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
    }
