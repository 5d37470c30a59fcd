"""`unseg`: the command line. Every command calls the functions that the stage programs call.

Exit codes: 0 all well; 1 finished, but some images failed or a check did not pass; 2 usage or configuration;
130 interrupted (the same command continues). Heavy packages are imported inside the commands, so that help is instant.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from unseg_core.errors import ParameterError, UnsegError

if TYPE_CHECKING:
    from unseg_core.data.layouts import Layout
    from unseg_core.device import Precision
    from unseg_core.protect.manifest import Settings
    from unseg_core.protect.proposals import Proposals
    from unseg_core.train.run import TrainJob

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
AUDITS = Path("~/.cache/unseg/audits")

app = typer.Typer(
    help="Make segmentation data sets unlearnable, and check the copies.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


@app.command()
def protect(
    source: Annotated[str, typer.Argument(help="Folder of the data set.")],
    target: Annotated[str, typer.Argument(help="Folder of the protected copy.")],
    layout: Annotated[str, typer.Option(help="auto, or a name that `unseg layouts` lists.")] = "auto",
    masks: Annotated[str | None, typer.Option(help="Folder of the masks, if not in the layout's own place.")] = None,
    split: Annotated[str | None, typer.Option(help="Protect this split only; the rest is carried over.")] = None,
    annotations: Annotated[
        str | None, typer.Option(help="COCO JSON file, below the source or anywhere, if not in the usual place.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="NAME,NAME: the classes 1, 2, ... of label maps.")] = None,
    targets: Annotated[
        str, typer.Option(help="all, things, or CLASS,CLASS: names, or the data set's own numbers.")
    ] = "all",
    prompt: Annotated[
        str, typer.Option(help="mask, box, point or whole: how the generator is told the region.")
    ] = "mask",
    method: Annotated[str, typer.Option(help="unseg, or a baseline: uniform, synper, ar or cuda.")] = "unseg",
    generator: Annotated[
        str, typer.Option(help="For unseg: small (comes with the package), PATH, URL or models:/NAME@ALIAS.")
    ] = "small",
    epsilon: Annotated[float, typer.Option(help="Budget inside the objects, 8-bit levels.")] = 8.0,
    epsilon_bg: Annotated[float, typer.Option(help="Budget outside, 8-bit levels.")] = 2.0,
    image_format: Annotated[
        str, typer.Option(help="auto keeps each file's format; png is lossless; or jpeg.")
    ] = "auto",
    no_target: Annotated[str, typer.Option(help="Images without an object: copy, skip or whole.")] = "copy",
    engine: Annotated[str, typer.Option(help="local, or ray: the machines of a Ray cluster.")] = "local",
    workers: Annotated[
        int, typer.Option(help="Decoding threads of a process, and as many encoding; 0: by device.")
    ] = 0,
    batch_size: Annotated[int, typer.Option(help="Images of one pass of the network; 0: by device.")] = 0,
    processes: Annotated[int, typer.Option(help="On this machine; 0: one, or one for each GPU.")] = 0,
    ray_address: Annotated[str, typer.Option(help="Of the cluster; empty starts one on this machine.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, or auto: bf16 where the device is built for it.")
    ] = "fp32",
    seed: Annotated[int, typer.Option(help="Of random noise and points.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and write nothing.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in the target.")] = False,
    as_json: Json = False,
) -> None:
    """Write a protected copy of a data set. A run that was cut off is continued by the same command."""

    def work() -> int:
        from unseg_core.data.layouts import open_layout
        from unseg_core.params import build
        from unseg_core.protect.engine import check_source, check_target, protect_with
        from unseg_core.protect.execution import Execution, choose_engine
        from unseg_core.protect.methods import MethodOptions
        from unseg_core.protect.origin import recorded_annotations, recorded_masks
        from unseg_core.protect.plan import plan_run
        from unseg_core.protect.shares import Recipe

        opened = open_layout(
            layout,
            source,
            classes=_names(classes),
            masks=masks,
            split=split,
            annotations=annotations,
            whole=prompt == "whole",
        )
        file = _generator_file(method, generator)
        where, number = _device(device, precision)
        chosen = {"targets": targets, "prompt": prompt, "method": method, "image_format": image_format}
        chosen |= {"precision": number, "split": split or "", "masks": recorded_masks(source, masks)}
        chosen["annotations"] = recorded_annotations(source, annotations)
        settings = _settings(opened, file, {**chosen, "no_target": no_target, "seed": seed}, epsilon, epsilon_bg)
        check_source(opened, settings)
        check_target(source, target)
        options = MethodOptions(seed=seed, prompt=prompt, generator=file, device=where, precision=number)
        recipe = Recipe(name=method, options=options)
        how: dict[str, Any] = {"engine": engine, "workers": workers, "batch_size": batch_size, "processes": processes}
        execution = build(Execution, {**how, "ray_address": ray_address}, "")
        if dry_run:
            plan = plan_run(opened, recipe, settings, execution, where)
            _show(as_json, plan, _plan_text(plan, target))
            return OK
        summary = protect_with(choose_engine(recipe, execution, where), opened, settings, target, overwrite=overwrite)
        _show(as_json, summary, _protect_text(summary["totals"], target))
        return FAILED if summary["totals"]["failed"] else OK

    _run(work, as_json)


@app.command()
def verify(
    target: Annotated[str, typer.Argument(help="Folder of the protected copy.")],
    against: Annotated[str | None, typer.Option(help="Folder of the original data set.")] = None,
    masks: Annotated[str | None, typer.Option(help="Folder of the original's masks, if not below it.")] = None,
    split: Annotated[str | None, typer.Option(help="Of the original, if not as the manifest says.")] = None,
    annotations: Annotated[str | None, typer.Option(help="COCO JSON file of the original, if not below it.")] = None,
    as_json: Json = False,
) -> None:
    """Check a protected copy against its manifest and, if given, the originals."""

    def work() -> int:
        from dataclasses import asdict

        from unseg_core.protect.manifest import read_summary, settings_from
        from unseg_core.protect.origin import open_original
        from unseg_core.protect.verify import verify_copy

        opened = None
        if against:
            settings = settings_from(read_summary(target)["settings"])
            opened = open_original(settings, against, masks=masks, split=split, annotations=annotations)
        result = verify_copy(target, against, layout=opened)
        problems = "".join(f"\n  {difference}" for difference in result.differences)
        over = f", {len(result.over_budget)} JPEG files over the budget as stated" if result.over_budget else ""
        text = f"{result.checked} images checked: {len(result.differences)} differences{over}{problems}"
        _show(as_json, asdict(result), text)
        return FAILED if result.differences else OK

    _run(work, as_json)


@app.command()
def masks(
    source: Annotated[str, typer.Argument(help="Folder of images: images/ in it, or itself.")],
    target: Annotated[str, typer.Argument(help="Folder of the masks: PNG, 0 and 255, of the images' names.")],
    generator: Annotated[
        str, typer.Option(help="With SAM's own parts in it: PATH, URL or models:/NAME@ALIAS; ours or published.")
    ],
    points_per_side: Annotated[int, typer.Option(help="Of the grid; the time goes with its square.")] = 32,
    predicted_iou: Annotated[float, typer.Option(help="Masks that SAM rates lower are dropped.")] = 0.88,
    stability: Annotated[float, typer.Option(help="And those that are less stable.")] = 0.95,
    largest_share: Annotated[float, typer.Option(help="And those that cover more of the image.")] = 0.5,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Json = False,
) -> None:
    """Propose masks for images that have none, for `unseg protect --masks`. Masks that are there already are kept."""

    def work() -> int:
        from unseg_core.model.automatic_masks import MaskProposer, check_has_sam
        from unseg_core.model.generator_reference import resolve_generator
        from unseg_core.model.weights import load_generator
        from unseg_core.params import check_range
        from unseg_core.protect.proposals import images_without_masks, propose_masks

        check_range("points_per_side", points_per_side, 1, 256)
        check_range("largest_share", largest_share, 0.0, 1.0)
        images_without_masks(source, target)
        file = resolve_generator(generator)
        check_has_sam(file)
        proposer = MaskProposer(
            load_generator(file).to(_device(device, "fp32")[0]),
            points_per_side=points_per_side,
            predicted_iou=predicted_iou,
            stability=stability,
            largest_share=largest_share,
        )
        found = propose_masks(source, target, proposer)
        _show(as_json, found.summary(), _masks_text(found, target))
        return FAILED if found.failed else OK

    _run(work, as_json)


@app.command()
def weights(
    target: Annotated[Path, typer.Argument(help="Folder for generator.safetensors and surrogate.safetensors.")],
    size: Annotated[str, typer.Option(help="tiny, small, vit_b, vit_l or vit_h.")] = "small",
    generator: Annotated[str, typer.Option(help="random, sam or published.")] = "random",
    surrogate: Annotated[str, typer.Option(help="random, mae, resnet50 or resnet50-random.")] = "random",
    generator_url: Annotated[str, typer.Option(help="Where its checkpoint is, if not at the official place.")] = "",
    surrogate_url: Annotated[str, typer.Option(help="The same for the surrogate.")] = "",
    seed: Annotated[int, typer.Option(help="Of what is random.")] = 0,
    as_json: Json = False,
) -> None:
    """Write the state that a training starts from. Official checkpoints are downloaded."""

    def work() -> int:
        from unseg_core.model.official_start import write_start
        from unseg_core.params import WeightsParams, build

        names = {"generator": generator, "surrogate": surrogate}
        urls = {"generator_url": generator_url, "surrogate_url": surrogate_url}
        params = build(WeightsParams, {"size": size, "seed": seed, **names, **urls}, "weights")
        written = write_start(params, target, downloads=target / ".downloads")
        _show(as_json, written, "\n".join(f"{name}: sha256 {sha256}" for name, sha256 in written.items()))
        return OK

    _run(work, as_json)


@app.command()
def train(
    sources: Annotated[list[str], typer.Argument(help="Folders of images with masks.")],
    start: Annotated[Path, typer.Option("--weights", help="Folder that `unseg weights` has written.")],
    out: Annotated[Path, typer.Option(help="Folder of the generator.")],
    validation: Annotated[list[str] | None, typer.Option(help="Folder to validate on; may be repeated.")] = None,
    layout: Annotated[str, typer.Option(help="Of all of them: auto, or a name that `unseg layouts` lists.")] = "auto",
    params: Annotated[Path | None, typer.Option(help="YAML file with sections train and runtime.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, such as train.epochs=9; may be repeated.")
    ] = None,
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
            _show(as_json, planned, "\n".join(f"{name:24s} {_number(value)}" for name, value in planned.items()))
            return OK
        stop = StopRequest()
        stop.listen()
        trained = run_training(job, stop=stop)
        if trained is not None:
            _show(
                as_json, trained.metrics, f"generator: {job.output}/generator.safetensors; README.md says how it went"
            )
        return OK

    _run(work, as_json)


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

    chosen = _read_settings(params, settings, ("train", "runtime"))
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


def _read_settings(path: Path | None, settings: list[str], known: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Sections of a YAML file, with `NAME=VALUE` over them, which may be of the `known` sections."""
    sections: dict[str, dict[str, Any]] = {}
    if path is not None:
        import yaml

        try:
            sections = dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        except (OSError, yaml.YAMLError, ValueError, TypeError) as error:
            raise ParameterError(f"{path} cannot be read as YAML ({' '.join(str(error).split())})") from None
    for setting in settings:
        name, equals, value = setting.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot) or section not in known:
            raise ParameterError(f"--set {setting!r}: write {' or '.join(f'{one}.NAME=VALUE' for one in known)}")
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
        sections[section] = {**sections.get(section, {}), key: parsed}
    return sections


@app.command()
def audit(
    copy: Annotated[str, typer.Argument(help="Folder of the protected copy.")],
    against: Annotated[str, typer.Option(help="Folder of the data set that it was made from.")],
    minutes: Annotated[float, typer.Option(help="No seed is begun that would not end within this time.")] = 10.0,
    threshold: Annotated[
        float, typer.Option(help="Share of the clean models' score that models of the copy may reach.")
    ] = 0.5,
    layout: Annotated[str | None, typer.Option(help="Of the source, if not as the manifest says.")] = None,
    classes: Annotated[str | None, typer.Option(help="NAME,NAME: as the copy was made with, to be sure.")] = None,
    masks: Annotated[str | None, typer.Option(help="Folder of the source's masks, if not below it.")] = None,
    split: Annotated[str | None, typer.Option(help="Of the source, if not as the manifest says.")] = None,
    annotations: Annotated[str | None, typer.Option(help="COCO JSON file of the source, if not below it.")] = None,
    params: Annotated[Path | None, typer.Option(help="YAML file with sections audit and runtime.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, such as audit.size=128; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    work: Annotated[Path, typer.Option(help="Where finished trainings are kept until the end.")] = AUDITS,
    out: Annotated[Path | None, typer.Option(help="JSON file of the result, for `unseg report`.")] = None,
    as_json: Json = False,
) -> None:
    """Train small models on a copy and on its source, and say whether the copy is protected.

    Exit code 0: protected; 1: not protected, or it cannot be told. A run that was cut off is continued by the same
    command.
    """

    def run() -> int:
        from unseg_core import storage
        from unseg_core.audit.pair import open_pair
        from unseg_core.audit.run import run_audit, work_name
        from unseg_core.audit.words import audit_text
        from unseg_core.params import AuditParams, RuntimeParams, build
        from unseg_core.protect.manifest import read_summary, settings_from
        from unseg_core.protect.origin import open_original

        chosen = _read_settings(params, setting or [], ("audit", "runtime"))
        how = build(AuditParams, {"minutes": minutes, "threshold": threshold, **chosen.get("audit", {})}, "audit")
        runtime = build(RuntimeParams, {"device": device, **chosen.get("runtime", {})}, "runtime")
        settings = settings_from(read_summary(copy)["settings"])
        over = replace(settings, layout=layout or settings.layout, classes=tuple(_names(classes) or settings.classes))
        pair = open_pair(
            copy, open_original(over, against, masks=masks, split=split, annotations=annotations), settings
        )
        folder = work.expanduser() / work_name(pair, how)
        found = run_audit(pair, how, runtime, folder)
        if found.complete:
            storage.remove_folder(folder)
        result = found.as_json()
        if out is not None:
            storage.write_file(str(out), (json.dumps(result, indent=2, sort_keys=True) + "\n").encode())
        _show(as_json, result, audit_text(found))
        return OK if found.verdict.answer == "protected" else FAILED

    _run(run, as_json)


@app.command()
def report(
    copy: Annotated[str, typer.Argument(help="Folder of the protected copy.")],
    against: Annotated[str, typer.Option(help="Folder of the data set that it was made from.")],
    out: Annotated[str, typer.Option(help="The HTML file.")] = "report.html",
    name: Annotated[str, typer.Option(help="Of the data set, as the page calls it; empty: that of its folder.")] = "",
    audit: Annotated[list[Path] | None, typer.Option(help="JSON file of `unseg audit --out`; may be repeated.")] = None,
    evaluation: Annotated[
        list[Path] | None, typer.Option(help="JSON file as in metrics/evaluate; may be repeated.")
    ] = None,
    gallery: Annotated[int, typer.Option(help="Images that are shown.")] = 6,
    masks: Annotated[str | None, typer.Option(help="Folder of the source's masks, if not below it.")] = None,
    split: Annotated[str | None, typer.Option(help="Of the source, if not as the manifest says.")] = None,
    annotations: Annotated[str | None, typer.Option(help="COCO JSON file of the source, if not below it.")] = None,
    as_json: Json = False,
) -> None:
    """Check a copy and write a page about it: what was done, pictures, the check, and audits where they are given.

    Exit code 1: the check did not pass, or an audit does not say that the copy is protected.
    """

    def work() -> int:
        from unseg_core import storage
        from unseg_core.params import check_range
        from unseg_core.protect.manifest import read_summary, settings_from
        from unseg_core.protect.origin import open_original
        from unseg_core.protect.verify import verify_copy
        from unseg_core.report.copy import CopyReport, copy_contents, is_good
        from unseg_core.report.page import first_screen, render_report

        check_range("gallery", gallery, 0, 100)
        settings = settings_from(read_summary(copy)["settings"])
        source = open_original(settings, against, masks=masks, split=split, annotations=annotations)
        contents = copy_contents(
            CopyReport(
                copy=copy,
                source=source,
                name=name or against.rstrip("/").rsplit("/", 1)[-1],
                verification=verify_copy(copy, against, layout=source),
                audits=audit or [],
                evaluations=evaluation or [],
                gallery=gallery,
            )
        )
        storage.write_file(out, render_report(contents).encode())
        top, problems = first_screen(contents)
        _show(
            as_json,
            {"report": out, "verdict": top.verdict.value, "sentence": top.sentence, "problems": problems},
            "\n".join([top.sentence, *problems, f"report: {out}"]),
        )
        return OK if is_good(contents) else FAILED

    _run(work, as_json)


@app.command()
def evaluate(
    source: Annotated[str, typer.Argument(help="Folder of the original data set; models are tested on its images.")],
    copies: Annotated[list[str] | None, typer.Argument(help="Protected copies of it to train on.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results, and of what a restart continues from.")] = Path(
        "evaluation"
    ),
    layout: Annotated[str, typer.Option(help="auto, or a name that `unseg layouts` lists.")] = "auto",
    classes: Annotated[str | None, typer.Option(help="NAME,NAME: the classes 1, 2, ... of label maps.")] = None,
    masks: Annotated[str | None, typer.Option(help="Folder of the masks, if not in the layout's own place.")] = None,
    split: Annotated[str | None, typer.Option(help="Use this split only.")] = None,
    annotations: Annotated[str | None, typer.Option(help="COCO JSON file, if not in the usual place.")] = None,
    test_share: Annotated[float, typer.Option(help="Share of the images that is tested on.")] = 0.2,
    protected_share: Annotated[
        list[float] | None,
        typer.Option(help="Of the training images, taken from a copy, the others clean; may be repeated."),
    ] = None,
    defence: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME:VALUE, such as jpeg:75; may be repeated.")
    ] = None,
    params: Annotated[Path | None, typer.Option(help="YAML file with sections evaluate and runtime.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, such as evaluate.epochs=9; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train models on a data set and on protected copies of it, and test them on clean images.

    A run that was cut off is continued by the same command; `torchrun` runs it on many GPUs.
    """

    def work() -> int:
        from unseg_core.evaluate.compare import Comparison, compare_versions, comparison_text, versions_of
        from unseg_core.params import EvaluateParams, RuntimeParams, build
        from unseg_core.train.processes import processes_from

        chosen = _read_settings(params, setting or [], ("evaluate", "runtime"))
        recipe = {**chosen.get("evaluate", {}), **({"defences": defence} if defence else {})}
        where: dict[str, Any] = {"classes": _names(classes), "masks": masks, "split": split}
        where["annotations"] = annotations
        comparison = Comparison(
            versions=versions_of(layout, source, copies or [], protected_share or [1.0], **where),
            params=build(EvaluateParams, recipe, "evaluate"),
            runtime=build(RuntimeParams, chosen.get("runtime", {}), "runtime"),
            test_share=test_share,
            out=out,
            processes=processes_from(os.environ),
        )
        result = compare_versions(comparison)
        if comparison.processes.first:
            _show(as_json, result, comparison_text(result))
        return OK

    _run(work, as_json)


@app.command()
def layouts(as_json: Json = False) -> None:
    """List the data set layouts that can be read and mirrored."""

    def work() -> int:
        from unseg_core.data.layouts import DESCRIPTIONS

        _show(as_json, DESCRIPTIONS, "\n".join(f"{name:14s} {text}" for name, text in DESCRIPTIONS.items()))
        return OK

    _run(work, as_json)


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None


def _generator_file(method: str, generator: str) -> Path | None:
    if method != "unseg":
        return None
    from unseg_core.model.generator_reference import resolve_generator

    return resolve_generator(generator)


def _device(name: str, precision: str) -> tuple[str, Precision]:
    from unseg_core.device import choose_precision, prepare_device
    from unseg_core.params import RuntimeParams, build

    runtime = build(RuntimeParams, {"device": name, "precision": precision}, "")
    device = prepare_device(runtime)
    return str(device), choose_precision(runtime.precision, device)


def _settings(
    opened: Layout, generator: Path | None, chosen: dict[str, Any], epsilon: float, epsilon_bg: float
) -> Settings:
    """Checked by the same dataclasses that check params.yaml."""
    from unseg_core.data.sample import resolve_targets
    from unseg_core.model.weights import generator_sha256
    from unseg_core.params import DatasetParams, ProtectParams, build
    from unseg_core.protect.manifest import Settings

    dataset = build(
        DatasetParams,
        {
            "layout": opened.name,
            "classes": list(opened.classes),
            "epsilon": epsilon,
            "epsilon_bg": epsilon_bg,
            "targets": resolve_targets(chosen["targets"], opened.classes, opened.class_ids),
            **{key: chosen[key] for key in ("prompt", "split", "annotations")},
        },
        "",
    )
    how = build(ProtectParams, {key: chosen[key] for key in ("image_format", "no_target", "seed")}, "")
    sha256 = generator_sha256(generator) if generator else None
    named = {key: chosen[key] for key in ("method", "precision", "masks")}
    return Settings.of(dataset, how, generator_sha256=sha256, **named)


def _plan_text(plan: dict[str, Any], target: str) -> str:
    measured = plan["measured"]
    found = ", ".join(
        f"{count} {name}" for name, count in [*measured["statuses"].items(), *measured["classes"].items()]
    )
    return (
        f"would write {plan['images']} images ({plan['bytes']:,} bytes, about {plan['output_bytes']:,} after) "
        f"and {plan['carried_files']} other files ({plan['carried_bytes']:,} bytes) to {target}\n"
        f"about {plan['seconds']:,.1f} s in one process here, measured on {measured['images']} images: {found}"
    )


def _protect_text(totals: dict[str, Any], target: str) -> str:
    counts = f"{totals['protected']} protected, {totals['no_target']} without a target, {totals['failed']} failed"
    change = f"largest change {totals['linf_inside']} inside, {totals['linf_outside']} outside (8-bit levels)"
    hint = f"\n{target}/manifest.jsonl says why images failed" if totals["failed"] else ""
    return f"{totals['images']} images: {counts}; {change}\nprotected copy: {target}{hint}"


def _masks_text(found: Proposals, target: str) -> str:
    failures = "".join(f"\n  {reason}" for reason in found.failed.values())
    hint = f"; {found.empty} without an object: see --no-target of `unseg protect`" if found.empty else ""
    counts = f"{found.written} masks written, {found.kept} kept, {len(found.failed)} failed{hint}"
    return f"{found.images} images: {counts}\nmasks: {target}{failures}"


def _show(as_json: bool, value: object, text: str) -> None:
    print(json.dumps(value, sort_keys=True) if as_json else text)


def _run(work: Callable[[], int], as_json: bool) -> NoReturn:
    """Run a command; errors become one line and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = work()
    except UnsegError as error:
        print(f"error: {error}", file=sys.stderr)
        if as_json:
            print(json.dumps({"error": str(error)}))
        code = USAGE
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        code = INTERRUPTED
    raise SystemExit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as in tasks/__init__.py
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    app()


if __name__ == "__main__":
    main()
