"""`unseg`: the command line. Every command calls the functions that the stage programs call.

Exit codes: 0 all well; 1 finished, but some images failed or a check did not pass; 2 usage or configuration;
130 interrupted (the same command continues). Heavy packages are imported inside the commands, so that help is instant.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from unseg_core.errors import ParameterError, UnsegError

if TYPE_CHECKING:
    from unseg_core.data.layouts import Layout
    from unseg_core.device import Precision
    from unseg_core.protect.manifest import Settings

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

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
    classes: Annotated[str | None, typer.Option(help="NAME,NAME: the classes 1, 2, ... of label maps.")] = None,
    targets: Annotated[str, typer.Option(help="all, things, or NAME,NAME: which objects to protect.")] = "all",
    prompt: Annotated[
        str, typer.Option(help="mask, box, point or whole: how the generator is told the region.")
    ] = "mask",
    method: Annotated[str, typer.Option(help="unseg or uniform.")] = "unseg",
    generator: Annotated[str | None, typer.Option(help="PATH or models:/NAME@ALIAS, for method unseg.")] = None,
    epsilon: Annotated[float, typer.Option(help="Budget inside the objects, 8-bit levels.")] = 8.0,
    epsilon_bg: Annotated[float, typer.Option(help="Budget outside, 8-bit levels.")] = 2.0,
    image_format: Annotated[
        str, typer.Option(help="auto keeps each file's format; png is lossless; or jpeg.")
    ] = "auto",
    no_target: Annotated[str, typer.Option(help="Images without an object: copy, skip or whole.")] = "copy",
    workers: Annotated[int, typer.Option(help="Images in work at the same time.")] = 2,
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
        from unseg_core.protect.engine import check_source, check_target, protect_dataset
        from unseg_core.protect.methods import MethodOptions, build_method

        opened = open_layout(layout, source, classes=_names(classes), masks=masks)
        file = _generator_file(method, generator)
        where, number = _device(device, precision)
        chosen = {"targets": targets, "prompt": prompt, "method": method, "image_format": image_format}
        chosen["precision"] = number
        settings = _settings(
            opened, layout, file, {**chosen, "no_target": no_target, "seed": seed}, epsilon, epsilon_bg
        )
        check_source(opened, settings)
        check_target(source, target)
        if dry_run:
            plan = _plan(opened, settings)
            _show(as_json, plan, f"would write {plan['images']} images ({plan['bytes']:,} bytes) to {target}")
            return OK
        options = MethodOptions(seed=seed, prompt=prompt, generator=file, device=where, precision=number)
        built = build_method(method, options)
        summary = protect_dataset(opened, built, settings, target, workers=workers, overwrite=overwrite)
        _show(as_json, summary, _protect_text(summary["totals"], target))
        return FAILED if summary["totals"]["failed"] else OK

    _run(work, as_json)


@app.command()
def verify(
    target: Annotated[str, typer.Argument(help="Folder of the protected copy.")],
    against: Annotated[str | None, typer.Option(help="Folder of the original data set.")] = None,
    masks: Annotated[str | None, typer.Option(help="Folder of the original's masks, if elsewhere.")] = None,
    as_json: Json = False,
) -> None:
    """Check a protected copy against its manifest and, if given, the originals."""

    def work() -> int:
        from dataclasses import asdict

        from unseg_core.protect.verify import verify_copy

        result = verify_copy(target, against, masks=masks)
        problems = "".join(f"\n  {difference}" for difference in result.differences)
        over = f", {len(result.over_budget)} JPEG files over the budget as stated" if result.over_budget else ""
        text = f"{result.checked} images checked: {len(result.differences)} differences{over}{problems}"
        _show(as_json, asdict(result), text)
        return FAILED if result.differences else OK

    _run(work, as_json)


@app.command()
def layouts(as_json: Json = False) -> None:
    """List the data set layouts that can be read and mirrored."""

    def work() -> int:
        from unseg_core.data.layouts import DESCRIPTIONS

        _show(as_json, DESCRIPTIONS, "\n".join(f"{name:10s} {text}" for name, text in DESCRIPTIONS.items()))
        return OK

    _run(work, as_json)


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None


def _generator_file(method: str, generator: str | None) -> Path | None:
    if method != "unseg":
        return None
    if generator is None:
        raise ParameterError(
            "method unseg needs a generator: --generator data/generator/generator.safetensors after `make repro`"
        )
    if generator.startswith("models:/"):
        from unseg_core.model.registry_uri import resolve_model_uri

        return resolve_model_uri(generator)
    return Path(generator)


def _device(name: str, precision: str) -> tuple[str, Precision]:
    from unseg_core.device import choose_precision, prepare_device
    from unseg_core.params import RuntimeParams, build

    runtime = build(RuntimeParams, {"device": name, "precision": precision}, "")
    device = prepare_device(runtime)
    return str(device), choose_precision(runtime.precision, device)


def _settings(
    opened: Layout, layout: str, generator: Path | None, chosen: dict[str, Any], epsilon: float, epsilon_bg: float
) -> Settings:
    """Checked by the same dataclasses that check params.yaml."""
    from unseg_core.data.layouts import detect_layout
    from unseg_core.model.weights import generator_sha256
    from unseg_core.params import DatasetParams, ProtectParams, build
    from unseg_core.protect.manifest import Settings

    dataset = build(
        DatasetParams,
        {
            "layout": detect_layout(opened.root) if layout == "auto" else layout,
            "classes": list(opened.classes),
            "epsilon": epsilon,
            "epsilon_bg": epsilon_bg,
            "targets": chosen["targets"],
            "prompt": chosen["prompt"],
        },
        "",
    )
    how = build(ProtectParams, {key: chosen[key] for key in ("image_format", "no_target", "seed")}, "")
    sha256 = generator_sha256(generator) if generator else None
    return Settings.of(dataset, how, method=chosen["method"], generator_sha256=sha256, precision=chosen["precision"])


def _plan(opened: Layout, settings: Settings) -> dict[str, Any]:
    from dataclasses import asdict

    from unseg_core import storage

    images = [storage.join(opened.root, sample.image) for sample in opened.samples()]
    size = sum(storage.size_of(image) for image in images)
    return {"images": len(images), "bytes": size, "settings": asdict(settings)}


def _protect_text(totals: dict[str, Any], target: str) -> str:
    counts = f"{totals['protected']} protected, {totals['no_target']} without a target, {totals['failed']} failed"
    change = f"largest change {totals['linf_inside']} inside, {totals['linf_outside']} outside (8-bit levels)"
    hint = f"\n{target}/manifest.jsonl says why images failed" if totals["failed"] else ""
    return f"{totals['images']} images: {counts}; {change}\nprotected copy: {target}{hint}"


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
    app()


if __name__ == "__main__":
    main()
