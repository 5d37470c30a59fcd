"""Work folders: where a stage keeps what a restart continues from.

They lie outside the stage's outputs, because DVC removes those before a run, and are named by everything that goes in,
so that a restart never continues the work of other parameters or data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from unseg_core import storage

WORK = Path("data/work")


def work_folder(stage: str, settings: object, inputs: Sequence[Path]) -> Path:
    """The folder for one stage with these settings (JSON values) and input files or folders; older ones are removed."""
    parts = [json.dumps(settings, sort_keys=True), *(line for path in inputs for line in _state(path))]
    folder = WORK / stage / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    for other in sorted(folder.parent.glob("*")):
        if other != folder:
            storage.remove_folder(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _state(path: Path) -> list[str]:
    """Name, size and time of every file: what tells a changed input without reading it."""
    files = [path] if path.is_file() else [path / name for name in storage.list_files(str(path))]
    states = [(file, file.stat()) for file in files]
    return [f"{file} {state.st_size} {state.st_mtime_ns}" for file, state in states]
