"""What DVC has recorded of finished stages: parameters, metrics and curves, from dvc.lock and the files it names."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from unseg_core.errors import DataError
from unseg_core.params import Params
from unseg_core.storage import read_file

LOCK_FILE = Path("dvc.lock")
GROUP_PREFIX = {"phase": "", "seed": "seed"}
"""Column of a plots file that tells its curves apart -> what stands before its value in a curve's name."""


@dataclass(frozen=True, kw_only=True)
class LockedStage:
    """A stage as dvc.lock has it."""

    name: str
    key: str
    """sha256 of the entry: command, parameters and the hashes of everything read and written."""
    command: str
    params: Mapping[str, str]
    """Dotted name -> value as text."""
    outputs: Mapping[str, str]
    """Path -> md5."""

    def output(self, folder: str, suffix: str) -> str | None:
        """The path of its output file below `folder`, if it has one."""
        return next((path for path in self.outputs if path.startswith(f"{folder}/") and path.endswith(suffix)), None)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value of a curve."""

    curve: str
    epoch: int
    value: float


@dataclass(frozen=True, kw_only=True)
class StageMetrics:
    """What a stage measured."""

    stage: LockedStage
    numbers: Mapping[str, float]
    texts: Mapping[str, str]
    curves: tuple[Point, ...]
    files: tuple[str, ...]
    """Paths of the metrics and plots files, relative to the project folder."""


def result_stages(params: Params) -> tuple[str, ...]:
    """Names of the stages whose results are tracked. dvc.lock also keeps stages of earlier profiles."""
    protected = [f"protect@{dataset}" for dataset in params.protect.datasets]
    baselines = [f"baseline@{d}-{m}" for d in params.protect.datasets for m in params.baselines.methods]
    audits = [f"audit@{dataset}" for dataset in params.audit.datasets]
    return ("train", *protected, *baselines, *(f"evaluate@{run}" for run in params.runs), *audits)


def read_lock(lock_file: Path) -> dict[str, LockedStage]:
    """All stages of a dvc.lock.

    Raises:
        DataError: the file is missing or is not a lock file.
    """
    try:
        lock = yaml.safe_load(lock_file.read_text(encoding="utf-8"))
        return {name: _locked_stage(name, entry) for name, entry in lock["stages"].items()}
    except FileNotFoundError:
        raise DataError(f"{lock_file} does not exist; run `dvc repro` first") from None
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError):
        raise DataError(f"{lock_file} is not a lock file of DVC; restore it with git, or run `dvc repro`") from None


def _locked_stage(name: str, entry: Mapping[str, Any]) -> LockedStage:
    return LockedStage(
        name=name,
        key=hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest(),
        command=str(entry["cmd"]),
        params={key: text for section in entry.get("params", {}).values() for key, text in flatten_texts(section)},
        outputs={out["path"]: out.get("md5", "") for out in entry.get("outs", [])},
    )


def flatten(value: Any, prefix: str, separator: str) -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings with their joined names; lists are leaves."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flatten(item, f"{prefix}{separator}{key}" if prefix else str(key), separator)
    else:
        yield prefix, value


def flatten_texts(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Dotted names and values; a list is written as JSON."""
    for name, value in flatten(section, "", "."):
        yield name, value if isinstance(value, str) else json.dumps(value)


def stage_metrics(root: Path, stage: LockedStage) -> StageMetrics:
    """Read the metrics and curves of a stage.

    Raises:
        DataError: a file is missing, is not what dvc.lock records, or cannot be parsed.
    """
    metrics, plots = stage.output("metrics", ".json"), stage.output("plots", ".csv")
    if metrics is None:
        raise DataError(f"{root / LOCK_FILE}: stage {stage.name} has no metrics file; run `dvc repro {stage.name}`")
    content = _parse_metrics(root / metrics, _recorded_bytes(root, stage, metrics))
    curves = tuple(_parse_curves(root / plots, _recorded_bytes(root, stage, plots))) if plots else ()
    return StageMetrics(
        stage=stage,
        numbers={name: float(value) for name, value in content.items() if _is_number(value)},
        texts={name: value for name, value in content.items() if isinstance(value, str)},
        curves=curves,
        files=tuple(path for path in (metrics, plots) if path),
    )


def _recorded_bytes(root: Path, stage: LockedStage, path: str) -> bytes:
    """A file's bytes, which must be those that dvc.lock names: a result is tracked under that lock's hash."""
    data = read_file(str(root / path))
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != stage.outputs[path]:
        raise DataError(f"{root / path} is not the file that dvc.lock records; run `dvc repro {stage.name}`")
    return data


def _parse_metrics(path: Path, data: bytes) -> dict[str, Any]:
    """Leaves of a metrics file; the entries of `seeds` get the names `seedN/...`."""
    try:
        content = json.loads(data)
        seeds = {f"seed{entry.pop('seed')}": entry for entry in content.pop("seeds", [])}
        return dict(flatten({**content, **seeds}, "", "/"))
    except (ValueError, AttributeError, KeyError, TypeError):
        raise DataError(f"{path} is not a metrics file; remove it and run `dvc repro`") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _parse_curves(path: Path, data: bytes) -> Iterator[Point]:
    """Every filled cell of a plots file, named `surrogate/loss` or `seed0/test_iou`."""
    reader = csv.DictReader(io.StringIO(data.decode("utf-8", errors="replace")))
    for line, row in enumerate(reader, start=2):
        try:
            group, prefix = next((column, text) for column, text in GROUP_PREFIX.items() if column in row)
            epoch, name = int(row.pop("epoch")), f"{prefix}{row.pop(group)}"
            yield from (Point(curve=f"{name}/{c}", epoch=epoch, value=float(v)) for c, v in row.items() if v)
        except (KeyError, StopIteration, ValueError, TypeError):
            raise DataError(
                f"{path}, line {line}: needs epoch, phase or seed, and numbers; remove it and run `dvc repro`"
            ) from None
