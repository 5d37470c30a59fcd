"""The floors of the house: imports run downwards, and heavy packages stay inside functions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest
from conftest import PROJECT

FLOORS = {"unseg_core": {"tasks", "flows"}, "tasks": {"flows"}}
HEAVY = {
    "dvc", "lightning", "matplotlib", "mlflow", "prefect", "ray", "segmentation_models_pytorch", "torchmetrics",
    "transformers",
}  # fmt: skip
FILES = [path for floor in ("unseg_core", "tasks", "flows") for path in sorted((PROJECT / floor).rglob("*.py"))]


def imported(tree: ast.AST, *, top_only: bool) -> set[str]:
    nodes = tree.body if top_only and isinstance(tree, ast.Module) else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_imports_run_downwards(path: object) -> None:
    assert isinstance(path, type(PROJECT))
    floor = path.relative_to(PROJECT).parts[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not imported(tree, top_only=False) & FLOORS.get(floor, set())
    if floor == "unseg_core":
        assert not imported(tree, top_only=True) & HEAVY


@pytest.mark.parametrize(
    "modules",
    [
        "unseg_core.cli",
        "unseg_core.protect.execution, unseg_core.protect.plan, unseg_core.protect.process_engine",
        "unseg_core.protect.verify, unseg_core.report.page, unseg_core.report.copy, unseg_core.data.sources",
        "tasks.fetch, tasks.protect, tasks.register, tasks.report, tasks.tracking",
    ],
)
def test_what_needs_no_network_imports_no_torch(modules: str) -> None:
    """It takes seconds to load: the greater part of protecting a small folder with a fixed pattern."""
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


def test_readme_tree_names_what_is_there() -> None:
    """Every path in the README's tree exists."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    tree = re.search(r"```text\n(unseg.*?)```", text, re.DOTALL)
    assert tree, "the README shows no tree"
    stack: list[str] = []
    for line in tree.group(1).splitlines()[1:]:
        if not line.strip():
            continue
        indent = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        stack = [*stack[: indent - 1], name.rstrip("/")]
        assert (PROJECT / "/".join(stack)).exists(), "/".join(stack)
