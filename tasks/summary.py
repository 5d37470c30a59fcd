"""What a run of the graph has to show: one row per stage and metric."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from tasks.graph import StageGraph, StageNode
from tasks.stage import StageResult

NOT_RUN = "not run"
FAILED = "failed"


def summary_rows(graph: StageGraph, results: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return rows with `stage`, `result`, `metric` and `value`, in the order of the graph.

    `results` maps a stage to what became of it; a stage that is not in it did not run. Metrics come from the metrics
    files that DVC knows, nested names joined by dots; a stage without any, or one that failed, has one row.
    """
    return [row for node in graph.stages for row in _stage_rows(graph.root, node, results.get(node.name, NOT_RUN))]


def _stage_rows(root: Path, node: StageNode, result: str) -> list[dict[str, Any]]:
    paths = node.metrics if result in get_args(StageResult) else ()
    pairs = [pair for path in paths for pair in read_metrics(root / path)] or [("", "")]
    return [{"stage": node.name, "result": result, "metric": name, "value": value} for name, value in pairs]


def read_metrics(path: Path) -> list[tuple[str, Any]]:
    """Return the names and values in a JSON metrics file; none when it is missing or not JSON."""
    try:
        return list(flatten(json.loads(path.read_text(encoding="utf-8"))))
    except (FileNotFoundError, ValueError):
        return []


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dicts and lists with their dotted names; numbers that JSON lacks become text."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if entries is None:
        yield prefix, str(value) if isinstance(value, float) and not math.isfinite(value) else value
        return
    for key, entry in entries:
        yield from flatten(entry, f"{prefix}.{key}" if prefix else str(key))
