"""`unseg train`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unseg_core.cli.command import OK, Json, Settings, read_settings, run, show

if TYPE_CHECKING:
    from unseg_core.train.run import TrainJob


def train(
    sources: Annotated[list[str], typer.Argument(help="Folders of images with masks.")],
    start: Annotated[Path, typer.Option("--weights", help="Folder that `unseg weights` has written.")],
    out: Annotated[Path, typer.Option(help="Folder of the generator.")],
    validation: Annotated[list[str] | None, typer.Option(help="Folder to validate on; may be repeated.")] = None,
    layout: Annotated[str, typer.Option(help="Of all of them: auto, or a name that `unseg layouts` lists.")] = "auto",
    params: Annotated[Path | None, typer.Option(help="YAML file with sections train and runtime.")] = None,
    setting: Settings = None,
    plan: Annotated[bool, typer.Option("--plan", help="Measure a few steps, say what it takes, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Train a generator. A run that was cut off is continued by the same command; `torchrun` runs it on many GPUs."""

    def work() -> int:
        from dataclasses import asdict

        from unseg_core.train.plan import plan_training
        from unseg_core.train.run import open_run, run_training
        from unseg_core.train.stop import StopRequest

        job = _train_job(sources, validation or [], layout, start, out, params, setting or [])
        if plan:
            planned = asdict(plan_training(open_run(job)))
            show(as_json, planned, "\n".join(f"{name:24s} {_number(value)}" for name, value in planned.items()))
            return OK
        stop = StopRequest()
        stop.listen()
        trained = run_training(job, stop=stop)
        if trained is not None:
            show(as_json, trained.metrics, f"generator: {job.output}/generator.safetensors; README.md says how it went")
        return OK

    run(work, as_json)


def _number(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _train_job(
    sources: list[str],
    validation: list[str],
    layout: str,
    start: Path,
    out: Path,
    params: Path | None,
    settings: list[str],
) -> TrainJob:
    from unseg_core.data.layouts import open_layout
    from unseg_core.params import RuntimeParams, TrainParams, build
    from unseg_core.train.dataset import TrainSource
    from unseg_core.train.processes import processes_from
    from unseg_core.train.run import TrainJob

    def opened(roots: list[str]) -> list[TrainSource]:
        return [TrainSource(name=root, layout=open_layout(layout, root)) for root in roots]

    chosen = read_settings(params, settings, ("train", "runtime"))
    named: dict[str, Any] = {"sources": [], "validation": []}  # here they are arguments
    return TrainJob(
        sources=opened(sources),
        validation=opened(validation),
        weights=start,
        output=out,
        work=out / ".work",
        params=build(TrainParams, {**chosen.get("train", {}), **named}, "train"),
        runtime=build(RuntimeParams, chosen.get("runtime", {}), "runtime"),
        processes=processes_from(os.environ),
    )
