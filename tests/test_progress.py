"""What long work says in a log."""

from __future__ import annotations

import pytest

from unseg_core import progress as lines
from unseg_core.progress import progress


def test_a_log_has_a_line_every_ten_seconds_with_the_pace_and_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 100.0
    monkeypatch.setattr(lines.time, "monotonic", lambda: clock)
    with progress("protect", 40) as advance:
        for seconds, count in ((4.0, 8), (6.0, 12), (0.5, 1), (1.0, 19)):
            clock += seconds
            advance(count)
    with progress("seed 0", 3, "epochs") as advance:
        clock += 50.0
        advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "protect: 20/40 images, 2.0/s, 10 s left",
        "protect: 40/40 images, 3.5/s, 0 s left",
        "seed 0: 1/3 epochs, 50.0 s each, 1 min 40 s left",
    ]


def test_what_an_earlier_run_has_done_does_not_count_for_the_pace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 100.0
    monkeypatch.setattr(lines.time, "monotonic", lambda: clock)
    with progress("seed 0", 60, "epochs", kept=56) as advance:
        clock += 20.0
        advance(1)
    assert capsys.readouterr().err == "seed 0: 57/60 epochs, 20.0 s each, 1 min 0 s left\n"
