"""`unseg report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unseg_core.cli.command import FAILED, OK, Json, SourceAnnotations, SourceMasks, SourceSplit, run, show


def report(
    copy: Annotated[str, typer.Argument(help="Folder of the protected copy.")],
    against: Annotated[str, typer.Option(help="Folder of the data set that it was made from.")],
    out: Annotated[str, typer.Option(help="The HTML file.")] = "report.html",
    name: Annotated[str, typer.Option(help="Of the data set, as the page calls it; empty: that of its folder.")] = "",
    audit: Annotated[list[Path] | None, typer.Option(help="JSON file of `unseg audit --out`; may be repeated.")] = None,
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(help="results.json of `unseg evaluate`, or a file of metrics/evaluate; may be repeated."),
    ] = None,
    gallery: Annotated[int, typer.Option(help="Images that are shown.")] = 6,
    masks: SourceMasks = None,
    split: SourceSplit = None,
    annotations: SourceAnnotations = None,
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
        show(
            as_json,
            {"report": out, "verdict": top.verdict.value, "sentence": top.sentence, "problems": problems},
            "\n".join([top.sentence, *problems, f"report: {out}"]),
        )
        return OK if is_good(contents) else FAILED

    run(work, as_json)
