"""`unseg evaluate`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from unseg_core.cli.command import OK, Json, Settings, names, read_settings, run, show


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
    test_split: Annotated[
        str | None, typer.Option(help="Test on this split instead, and train on all of --split.")
    ] = None,
    protected_share: Annotated[
        list[float] | None,
        typer.Option(help="Of the training images, taken from a copy, the others clean; may be repeated."),
    ] = None,
    defence: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME:VALUE, such as jpeg:75; may be repeated.")
    ] = None,
    params: Annotated[Path | None, typer.Option(help="YAML file with sections evaluate and runtime.")] = None,
    setting: Settings = None,
    as_json: Json = False,
) -> None:
    """Train models on a data set and on protected copies of it, and test them on clean images.

    A run that was cut off is continued by the same command; `torchrun` runs it on many GPUs.
    """

    def work() -> int:
        from unseg_core.data.layouts import open_layout
        from unseg_core.errors import ParameterError
        from unseg_core.evaluate.compare import Comparison, compare_versions, comparison_text, versions_of
        from unseg_core.params import EvaluateParams, RuntimeParams, build
        from unseg_core.train.processes import processes_from

        chosen = read_settings(params, setting or [], ("evaluate", "runtime"))
        recipe = {**chosen.get("evaluate", {}), **({"defences": defence} if defence else {})}
        if test_split and test_split == (split or test_split):
            raise ParameterError("--test-split needs --split, another one to train on")
        where: dict[str, Any] = {"classes": names(classes), "masks": masks, "split": split}
        where["annotations"] = annotations
        versions = versions_of(layout, source, copies or [], protected_share or [1.0], **where)
        original = versions[0].original
        tested = None
        if test_split:
            tested = open_layout(original.name, source, classes=original.classes, masks=masks, split=test_split)
        comparison = Comparison(
            versions=versions,
            params=build(EvaluateParams, recipe, "evaluate"),
            runtime=build(RuntimeParams, chosen.get("runtime", {}), "runtime"),
            test_share=0 if tested else test_share,
            tested=tested,
            out=out,
            processes=processes_from(os.environ),
        )
        result = compare_versions(comparison)
        if comparison.processes.first:
            show(as_json, result, comparison_text(result))
        return OK

    run(work, as_json)
