"""`python -m benchmarks.noise_left`: the share of the noise that a defence leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import write_pairs
from test_protect import protect

ROOT = Path(__file__).resolve().parents[1]


def noise_left(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.noise_left", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_shares_by_the_size_of_objects(tmp_path: Path, rng: np.random.Generator) -> None:
    source, copy = write_pairs(tmp_path / "source", 3, rng), tmp_path / "copy"
    (source / "images" / "photo 02.png").write_bytes(b"no image")
    protect(source, copy)
    done = noise_left(source, copy, "--size", 48, "--defences", "resize:1", "gaussian:3")
    assert done.returncode == 0, done.stderr
    head, _, *rows = done.stdout.splitlines()
    assert head == "| objects, of the side | pixels | noise | resize:1 | rest | gaussian:3 | rest |"
    table = [row.strip("| ").split(" | ") for row in rows]
    cells = {name: [float(cell.replace(",", "")) for cell in rest] for name, *rest in table}
    assert set(cells) == {"0.16 to 1", "elsewhere"}
    assert cells["elsewhere"][1] < cells["0.16 to 1"][1] < 8
    assert sum(one[0] for one in cells.values()) == 2 * 48 * 48
    for _, _, same, rest, smooth, _ in cells.values():
        assert (same, rest) == (1.0, 0.0)
        assert smooth < 0.3


def test_a_rule_of_training_is_refused() -> None:
    done = noise_left("source", "copy", "--defences", "adversarial:8")
    assert done.returncode == 1
    assert "rule of training" in done.stderr
