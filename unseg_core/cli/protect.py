"""`unseg protect`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unseg_core.cli.command import FAILED, OK, Json, names, run, show

if TYPE_CHECKING:
    from unseg_core.data.layouts import Layout
    from unseg_core.protect.choice import Examination
    from unseg_core.protect.manifest import Settings


def protect(
    source: Annotated[str, typer.Argument(help="Folder of the data set.")],
    target: Annotated[str, typer.Argument(help="Folder of the protected copy.")] = "",
    out: Annotated[str, typer.Option(help="Folder of the protected copy, instead of TARGET.")] = "",
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
    method: Annotated[
        str | None,
        typer.Option(
            help="grating, class-grating, dual-grating, unseg, or a baseline: uniform, synper, ar, cuda. If not given: "
            "unseg with --generator or --prompt whole; else, without a network, class-grating where several classes "
            "cover the images, and grating where there are objects in surroundings."
        ),
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            help="For unseg: small (comes with the package), PATH, URL or models:/NAME@ALIAS; if not given, small"
        ),
    ] = None,
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
        from unseg_core.data.sample import resolve_targets
        from unseg_core.params import RuntimeParams, build
        from unseg_core.protect.choice import Examination
        from unseg_core.protect.engine import check_source, check_target, protect_with
        from unseg_core.protect.execution import Execution, choose_engine
        from unseg_core.protect.methods import prepare_for
        from unseg_core.protect.origin import recorded_annotations, recorded_masks
        from unseg_core.protect.plan import plan_run
        from unseg_core.protect.shares import Recipe

        copy = _one_target(target, out)
        opened = open_layout(
            layout,
            source,
            classes=names(classes),
            masks=masks,
            split=split,
            annotations=annotations,
            whole=prompt == "whole",
        )
        wanted = resolve_targets(targets, opened.classes, opened.class_ids)
        examination = Examination(opened, wanted)
        how_made = method or _suitable(examination, generator, prompt)
        file = _generator_file(how_made, generator)
        where, number = prepare_for(how_made, build(RuntimeParams, {"device": device, "precision": precision}, ""))
        chosen: dict[str, Any] = {"targets": wanted, "prompt": prompt, "method": how_made, "image_format": image_format}
        chosen |= {"precision": number, "split": split or "", "masks": recorded_masks(source, masks)}
        chosen["annotations"] = recorded_annotations(source, annotations)
        chosen |= {"no_target": no_target, "seed": seed}
        settings = _settings(opened, examination, file, chosen, epsilon, epsilon_bg)
        check_source(opened, settings)
        check_target(source, copy)
        for warning in examination.warnings(how_made):
            print(f"warning: {warning}", file=sys.stderr)
        recipe = Recipe.of(settings, generator=file, device=where)
        how: dict[str, Any] = {"engine": engine, "workers": workers, "batch_size": batch_size, "processes": processes}
        execution = build(Execution, {**how, "ray_address": ray_address}, "")
        if dry_run:
            plan = plan_run(opened, recipe, settings, execution, where)
            show(as_json, plan, _plan_text(plan, copy))
            return OK
        summary = protect_with(choose_engine(recipe, execution, where), opened, settings, copy, overwrite=overwrite)
        show(as_json, summary, _protect_text(summary, copy))
        return FAILED if summary["totals"]["failed"] or not summary["totals"]["protected"] else OK

    run(work, as_json)


def _one_target(target: str, out: str) -> str:
    from unseg_core.errors import ParameterError

    if bool(target) == bool(out):
        raise ParameterError("name the folder of the protected copy, as TARGET or with --out, and once")
    return target or out


def _suitable(examination: Examination, generator: str | None, prompt: str) -> str:
    """The method for those who name none."""
    return "unseg" if generator or prompt == "whole" else examination.gratings()


def _generator_file(method: str, generator: str | None) -> Path | None:
    from unseg_core.errors import ParameterError

    if method == "unseg":
        from unseg_core.model.generator_reference import resolve_generator

        return resolve_generator(generator or "small")
    if generator:
        raise ParameterError(f"--method {method} uses no generator; leave out --generator, or choose --method unseg")
    return None


def _settings(
    opened: Layout,
    examination: Examination,
    generator: Path | None,
    chosen: dict[str, Any],
    epsilon: float,
    epsilon_bg: float,
) -> Settings:
    """Checked by the same dataclasses that check params.yaml."""
    from unseg_core.model.fingerprint import generator_sha256
    from unseg_core.params import DatasetParams, ProtectParams, build
    from unseg_core.protect.manifest import Settings

    dataset = build(
        DatasetParams,
        {
            "layout": opened.name,
            "classes": list(opened.classes),
            "epsilon": epsilon,
            "epsilon_bg": epsilon_bg,
            **{key: chosen[key] for key in ("targets", "prompt", "split", "annotations")},
        },
        "",
    )
    how = build(ProtectParams, {key: chosen[key] for key in ("image_format", "no_target", "seed")}, "")
    sha256 = generator_sha256(generator) if generator else None
    named = {key: chosen[key] for key in ("method", "precision", "masks")}
    named["class_order"] = examination.class_order(chosen["method"])
    named["cycles"] = examination.cycles(chosen["method"])
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
        f"{_others_text(plan['other_pictures'])}"
    )


def _protect_text(summary: dict[str, Any], target: str) -> str:
    totals = summary["totals"]
    counts = f"{totals['protected']} protected, {totals['no_target']} without a target, {totals['failed']} failed"
    change = f"largest change {totals['linf_inside']} inside, {totals['linf_outside']} outside (8-bit levels)"
    hint = f"\n{target}/manifest.jsonl says why images failed" if totals["failed"] else ""
    hint += "" if totals["protected"] else "\nno image was protected: check --targets and the masks"
    others = _others_text(summary.get("other_pictures"))
    return f"{totals['images']} images: {counts}; {change}\nprotected copy: {target}{hint}{others}"


def _others_text(others: dict[str, Any] | None) -> str:
    """What is in the copy as it is; copies of older versions do not say it."""
    if not others or not others["count"]:
        return ""
    what = "pictures of no annotation, or in a format that is not read, videos or archives"
    return f"\nnot protected: {what}, {others['count']} of them, such as {others['named'][0]}"
