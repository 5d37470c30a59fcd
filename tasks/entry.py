"""How a stage program starts and ends: its arguments, its errors, its exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import TypeVar

from unseg_core.errors import ParameterError, UnsegError

T = TypeVar("T")

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def run(program: Callable[[list[str]], int | None]) -> None:
    """Run `program` with the command line's arguments and exit with its code.

    An UnsegError becomes one line on standard error and exit code 2; an interrupt or SIGTERM exit code 130.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = program(sys.argv[1:]) or OK
    except UnsegError as error:
        print(f"error: {error}", file=sys.stderr)
        code = USAGE
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def chosen(section: str, name: str, known: Mapping[str, T]) -> T:
    """The entry that the command line names.

    Raises:
        ParameterError: params.yaml has no such entry.
    """
    if name not in known:
        raise ParameterError(f"{name!r} is not in {section} of params.yaml; known: {', '.join(known) or 'none'}")
    return known[name]


def data_root() -> Path | None:
    """UNSEG_DATA, or ../shared/data where that exists."""
    given = os.environ.get("UNSEG_DATA")
    if given:
        return Path(given)
    beside = Path("../shared/data")
    return beside if beside.is_dir() else None
