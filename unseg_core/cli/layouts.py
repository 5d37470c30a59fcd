"""`unseg layouts`."""

from __future__ import annotations

from unseg_core.cli.command import OK, Json, run, show


def layouts(as_json: Json = False) -> None:
    """List the data set layouts that can be read and mirrored."""

    def work() -> int:
        from unseg_core.data.layouts import DESCRIPTIONS

        show(as_json, DESCRIPTIONS, "\n".join(f"{name:14s} {text}" for name, text in DESCRIPTIONS.items()))
        return OK

    run(work, as_json)
