"""`unseg verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from unseg_core.cli.command import FAILED, OK, Json, SourceAnnotations, SourceMasks, SourceSplit, run, show

NOT_PROTECTED = {"no_target": "without a target", "failed": "failed"}
"""Counts of the manifest, and what they are called."""


def verify(
    target: Annotated[str, typer.Argument(help="Folder of the protected copy.")],
    against: Annotated[str | None, typer.Option(help="Folder of the original data set.")] = None,
    masks: SourceMasks = None,
    split: SourceSplit = None,
    annotations: SourceAnnotations = None,
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
        count = result.other_pictures
        others = f"; {count} other pictures or archives as in the original" if count else ""
        totals = read_summary(target)["totals"]
        rest = "".join(f", {totals[key]} {what}" for key, what in NOT_PROTECTED.items() if totals[key])
        found = f"{len(result.differences)} differences{over}{others}{problems}"
        text = f"{result.checked} images checked ({totals['protected']} protected{rest}): {found}"
        show(as_json, asdict(result), text)
        return FAILED if result.differences else OK

    run(work, as_json)
