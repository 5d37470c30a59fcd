"""The result of an audit for people."""

from __future__ import annotations

from unseg_core.audit.run import Arm, Audit


def audit_text(audit: Audit) -> str:
    """The verdict, why, and the table behind it."""
    lines = [f"{audit.verdict.answer}: {audit.verdict.reason}"]
    if audit.trained_seeds:
        lines += ["", _row("trained on", "IoU on clean images", "of clean", "95 % interval", "seeds")]
        lines += [_arm_row(name, arm) for name, arm in audit.arms.items()]
        lines.append(_row("nothing (same for all)", _score(audit.trivial), "", "", ""))
    lines += ["", _setting(audit)]
    return "\n".join(lines)


def _setting(audit: Audit) -> str:
    probe = audit.probe
    model = " ".join(part for part in (probe["model"], probe["encoder"]) if part)
    images = f"{audit.train_images} training and {audit.test_images} test images"
    return f"{model} at {probe['size']} pixels, {probe['epochs']} epochs; {images}; {audit.seconds:.0f} s"


def _arm_row(name: str, arm: Arm) -> str:
    ratio = arm.ratio
    of_clean = f"{ratio.value:.2f}" if ratio else ""
    interval = f"{ratio.low:.2f} to {ratio.high:.2f}" if ratio else ""
    return _row(name, _score(arm.iou), of_clean, interval, " ".join(f"{one:.3f}" for one in arm.seeds))


def _row(*cells: str) -> str:
    widths = (24, 21, 10, 15, 0)
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
