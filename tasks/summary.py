"""What a run of the graph has to show: one row per stage and metric."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.graph import StageGraph, StageNode

NOT_RUN = "not run"


def summary_rows(graph: StageGraph, results: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return rows with `stage`, `result`, `metric` and `value`, in the order of the graph.

    `results` maps a stage to what became of it; a stage that is not in it did not run. Metrics come from the metrics
    files that DVC knows, as they are on disk, nested names joined by dots; a stage without any has one row.
    """
    return [row for node in graph.stages for row in _stage_rows(graph.root, node, results.get(node.name, NOT_RUN))]


def _stage_rows(root: Path, node: StageNode, result: str) -> list[dict[str, Any]]:
    metrics = [pair for path in node.metrics for pair in read_metrics(root / path)] if result != NOT_RUN else []
    pairs = metrics or [("", "")]
    return [{"stage": node.name, "result": result, "metric": name, "value": value} for name, value in pairs]


def read_metrics(path: Path) -> list[tuple[str, Any]]:
    """Return the names and values in a JSON metrics file; none when it is missing or not JSON (the stage failed)."""
    try:
        return list(_flatten("", json.loads(path.read_text(encoding="utf-8"))))
    except (FileNotFoundError, ValueError):
        return []


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value))
    else:
        yield prefix, value
        return
    for key, entry in entries:
        yield from _flatten(f"{prefix}.{key}" if prefix else str(key), entry)
