"""The order of stages in dvc.lock.

DVC appends a stage to dvc.lock when it ends. Stages that run side by side end in any order; `dvc repro` runs them one
by one. So that both leave the same bytes, new stages are put into the order of `dvc repro`.
"""

import os
from collections.abc import Iterable
from pathlib import Path

LOCK_FILE = "dvc.lock"


def locked_stages(root: Path) -> tuple[str, ...]:
    """Return the stages in `root`'s dvc.lock in their order; none when there is no such file."""
    from dvc.utils.serialize import load_yaml

    path = root / LOCK_FILE
    return tuple(load_yaml(str(path)).get("stages", {})) if path.is_file() else ()


def order_lock(root: Path, *, before: Iterable[str], plan: Iterable[str], wait: bool = True) -> None:
    """Rewrite `root`'s dvc.lock: stages of `before` first, as they were, then the others in the order of `plan`.

    Changes nothing else in the file, and nothing when the order is right or, without `wait`, when another DVC is busy.
    """
    from dvc.lock import LockError
    from dvc.repo import Repo

    wanted = tuple(dict.fromkeys([*before, *plan]))
    try:
        with Repo(str(root), _wait_for_lock=wait) as repo, repo.lock:
            _reorder(root / LOCK_FILE, wanted)
    except LockError:
        if wait:
            raise


def _reorder(path: Path, wanted: Iterable[str]) -> None:
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    if not path.is_file():
        return
    content = parse_yaml_for_update(path.read_text(encoding="utf-8"), str(path))
    stages = content["stages"]
    entries = {name: stages[name] for name in [*wanted, *stages] if name in stages}
    if list(entries) == list(stages):
        return
    for name, entry in entries.items():
        del stages[name]
        stages[name] = entry
    _replace(path, dumps_yaml(content))


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
