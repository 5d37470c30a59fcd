"""`python -m benchmarks.noise_left`: the share of the noise that a defence leaves."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs
from test_protect import protect

from benchmarks import noise_left


def test_shares_by_the_size_of_objects(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_pairs(tmp_path / "source", 3, rng)
    (source / "images" / "photo 02.png").write_bytes(b"no image")
    protect(source, tmp_path / "copy")
    arguments = [str(source), str(tmp_path / "copy"), "--size", "48", "--defences", "resize:1", "gaussian:3"]
    monkeypatch.setattr(sys, "argv", ["noise_left", *arguments])
    noise_left.main()
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "| objects, of the side | pixels | noise | resize:1 | rest | gaussian:3 | rest |"
    cells = {
        row.split(" | ")[0].strip("| "): [float(cell.replace(",", "")) for cell in row.strip("| ").split(" | ")[1:]]
        for row in rows
    }
    assert set(cells) == {"0.16 to 1", "elsewhere"}
    assert cells["elsewhere"][1] < cells["0.16 to 1"][1] < 8
    assert sum(one[0] for one in cells.values()) == 2 * 48 * 48
    for _, _, same, rest, smooth, _ in cells.values():
        assert (same, rest) == (1.0, 0.0)
        assert smooth < 0.3


def test_a_rule_of_training_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["noise_left", "source", "copy", "--defences", "adversarial:8"])
    with pytest.raises(SystemExit, match="rule of training"):
        noise_left.main()
