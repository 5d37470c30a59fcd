"""`unseg audit`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from unseg_core.cli.command import (
    FAILED,
    OK,
    Json,
    Settings,
    SourceAnnotations,
    SourceMasks,
    SourceSplit,
    names,
    read_settings,
    run,
    show,
)

AUDITS = Path("~/.cache/unseg/audits")


def audit(
    copy: Annotated[str, typer.Argument(help="Folder of the protected copy.")],
    against: Annotated[str, typer.Option(help="Folder of the data set that it was made from.")],
    minutes: Annotated[
        float | None, typer.Option(help="No seed is begun that would not end within this time; 10 if not said.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Share of the clean models' score that models of the copy may reach; 0.5 if not said."),
    ] = None,
    layout: Annotated[str | None, typer.Option(help="Of the source, if not as the manifest says.")] = None,
    classes: Annotated[str | None, typer.Option(help="NAME,NAME: as the copy was made with, to be sure.")] = None,
    masks: SourceMasks = None,
    split: SourceSplit = None,
    annotations: SourceAnnotations = None,
    params: Annotated[Path | None, typer.Option(help="YAML file with sections audit and runtime.")] = None,
    setting: Settings = None,
    device: Annotated[str | None, typer.Option(help="auto (if not said), cpu or cuda.")] = None,
    work: Annotated[Path, typer.Option(help="Where finished trainings are kept until the end.")] = AUDITS,
    out: Annotated[Path | None, typer.Option(help="JSON file of the result, for `unseg report`.")] = None,
    as_json: Json = False,
) -> None:
    """Train small models on a copy and on its source, and say whether the copy is protected.

    Exit code 0: protected; 1: not protected, or it cannot be told. A run that was cut off is continued by the same
    command.
    """

    def finish() -> int:
        from unseg_core import storage
        from unseg_core.audit.pair import open_pair
        from unseg_core.audit.run import run_audit, work_name
        from unseg_core.audit.words import audit_text
        from unseg_core.params import AuditParams, RuntimeParams, build
        from unseg_core.protect.manifest import read_summary, settings_from
        from unseg_core.protect.origin import open_original

        chosen = read_settings(params, setting or [], ("audit", "runtime"))
        said = {"minutes": minutes, "threshold": threshold}
        given = {name: value for name, value in said.items() if value is not None}
        how = build(AuditParams, {**chosen.get("audit", {}), **given}, "audit")
        on = {"device": device} if device is not None else {}
        runtime = build(RuntimeParams, {**chosen.get("runtime", {}), **on}, "runtime")
        settings = settings_from(read_summary(copy)["settings"])
        over = replace(settings, layout=layout or settings.layout, classes=tuple(names(classes) or settings.classes))
        pair = open_pair(
            copy, open_original(over, against, masks=masks, split=split, annotations=annotations), settings
        )
        folder = work.expanduser() / work_name(pair, how, runtime)
        found = run_audit(pair, how, runtime, folder)
        if found.complete:
            storage.remove_folder(folder)
        result = found.as_json()
        if out is not None:
            storage.write_file(str(out), (json.dumps(result, indent=2, sort_keys=True) + "\n").encode())
        show(as_json, result, audit_text(found))
        return OK if found.verdict.answer == "protected" else FAILED

    run(finish, as_json)
