"""`make profile PROFILE=NAME`: copy a profile over params.yaml, and clear the results of the one before."""

from __future__ import annotations

from pathlib import Path

from tasks.entry import run
from tasks.parameters import PARAMS_FILE, load_params
from unseg_core import storage
from unseg_core.errors import ParameterError

PROFILES = Path("profiles")
RESULTS = (Path("metrics"), Path("plots"))
KEEP = ".gitkeep"
"""Of folders that a stage depends on and that may be empty."""


def main(arguments: list[str]) -> None:
    (name,) = arguments
    path = PROFILES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.yaml")))
        raise ParameterError(f"profile {name!r} is unknown; choose one of {known}")
    load_params(path)
    changed = path.read_bytes() != PARAMS_FILE.read_bytes() if PARAMS_FILE.exists() else True
    storage.write_file(str(PARAMS_FILE), path.read_bytes())
    if changed:
        _clear()
    print(f"params.yaml is now {path}; `make repro` runs it")


def _clear() -> None:
    """Remove the results; `dvc repro` brings those of the new profile back, from the cache where it can."""
    for folder in RESULTS:
        for path in folder.rglob("*"):
            if path.is_file() and path.name != KEEP:
                path.unlink()


if __name__ == "__main__":
    run(main)
