"""Stage `train`: the bilevel training, from data/training and data/weights to data/generator."""

from __future__ import annotations

import os
from pathlib import Path

from tasks.entry import run
from tasks.live_tracking import live_run
from tasks.parameters import load_params
from tasks.results import write_csv, write_json
from tasks.weights import WEIGHTS
from tasks.work import work_folder
from unseg_core import storage
from unseg_core.data.layouts import open_layout
from unseg_core.params import Params
from unseg_core.train.checkpoint import recipe_of
from unseg_core.train.dataset import TrainSource
from unseg_core.train.launch import launch, processes_wanted
from unseg_core.train.loop import StepReport
from unseg_core.train.processes import processes_from
from unseg_core.train.records import EpochRecord
from unseg_core.train.run import Trained, TrainJob, run_training
from unseg_core.train.stop import StopRequest

GENERATOR = Path("data/generator")


class _Printed:
    """An observer that prints a line for each epoch."""

    def step(self, report: StepReport) -> None:
        pass

    def epoch(self, record: EpochRecord, panel_png: bytes) -> None:
        parts = f"bce {record.loss_bce:.4f}, dice {record.loss_dice:.4f}"
        surrogate = f"{record.health.surrogate_iou_noised:.3f} noised, {record.health.surrogate_iou_clean:.3f} clean"
        left_out = f", {record.skipped} samples left out" if record.skipped else ""
        print(
            f"epoch {record.epoch:3d} {record.phase:9s} loss {record.loss:.4f} ({parts}); "
            f"surrogate's IoU {surrogate}{left_out}",
            flush=True,
        )


def main(arguments: list[str]) -> int | None:
    params = load_params()
    processes = processes_from(os.environ)
    wanted = processes_wanted(params.runtime.processes)
    if processes.count == 1 and wanted > 1:
        return launch("tasks.train", arguments, wanted)
    inputs = [WEIGHTS, *(Path("data/training", name) for name in _names(params))]
    job = TrainJob(
        sources=[_source(params, entry) for entry in params.train.sources],
        validation=[_source(params, entry) for entry in params.train.validation],
        weights=WEIGHTS,
        output=GENERATOR,
        work=work_folder("train", [recipe_of(params.train), params.runtime.precision], inputs),
        params=params.train,
        runtime=params.runtime,
        processes=processes,
    )
    stop = StopRequest()
    stop.listen()
    with live_run(params, job, _Printed()) as observer:
        trained = run_training(job, observer, stop)
    if trained is not None:
        _write(trained)
        storage.remove_folder(job.work)
    return None


def _names(params: Params) -> list[str]:
    return sorted({entry.partition(":")[0] for entry in (*params.train.sources, *params.train.validation)})


def _source(params: Params, entry: str) -> TrainSource:
    """`NAME` or `NAME:SPLIT`."""
    name, _, split = entry.partition(":")
    layout = open_layout(params.sources[name].layout, f"data/training/{name}", split=split or None)
    return TrainSource(name=entry, layout=layout)


def _write(trained: Trained) -> None:
    write_csv("plots/train.csv", [record.row() for record in trained.records])
    write_json("metrics/train.json", trained.metrics)


if __name__ == "__main__":
    run(main)
