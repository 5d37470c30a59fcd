"""What all commands share: their options, their settings, their output and exit codes."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from unseg_core.errors import ParameterError, UnsegError

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
SourceMasks = Annotated[str | None, typer.Option("--masks", help="Folder of the source's masks, if not below it.")]
SourceSplit = Annotated[str | None, typer.Option("--split", help="Of the source, if not as the manifest says.")]
SourceAnnotations = Annotated[
    str | None, typer.Option("--annotations", help="COCO JSON file of the source, if not below it.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE, such as runtime.threads=4; may be repeated.")
]


def read_settings(path: Path | None, settings: list[str], known: Sequence[str]) -> dict[str, dict[str, Any]]:
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


def names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None


def show(as_json: bool, value: object, text: str) -> None:
    print(json.dumps(value, sort_keys=True) if as_json else text)


def run(work: Callable[[], int], as_json: bool) -> NoReturn:
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
