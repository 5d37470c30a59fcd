"""The result of `unseg audit`, read from its JSON file: for the first screen and for a section of its own."""

from __future__ import annotations

from pathlib import Path

from unseg_core.errors import DataError
from unseg_core.report import charts
from unseg_core.report.comparison import mean_interval
from unseg_core.report.contents import AuditArm, AuditSummary
from unseg_core.report.records import Record, read_json
from unseg_core.report.verdict import Outcome, Verdict

REMEDY = "make it with `unseg audit COPY --against SOURCE --out FILE`"
VERDICTS = {"protected": Verdict.HOLDS, "not protected": Verdict.FAILS, "cannot tell": Verdict.OPEN}
ORIGINALS = "originals"
STYLES = (0, 1, 3)
"""Of the palette: originals, copy, copy with a defence."""


def read_audit(path: Path, dataset: str) -> AuditSummary:
    """Read one; raises DataError for a field that is missing or of another type."""
    record = read_json(path, remedy=REMEDY)
    probe, arms = record.record("probe"), record.record("arms")
    verdict = record.text("verdict")
    if verdict not in VERDICTS:
        raise DataError(f"{path}: the verdict must be one of {', '.join(VERDICTS)}, not {verdict!r}; {REMEDY}")
    return AuditSummary(
        dataset=dataset,
        verdict=verdict,
        reason=record.text("reason"),
        threshold=record.number("threshold"),
        # JSON files have their names sorted.
        arms=tuple(_arm(name, arms.record(name)) for name in sorted(arms.values, key=lambda one: one != ORIGINALS)),
        trivial=record.optional_fraction("trivial"),
        train_images=record.count("train_images"),
        test_images=record.count("test_images"),
        model=" ".join(part for part in (probe.text("model"), probe.text("encoder")) if part),
        size=probe.count("size"),
        epochs=probe.count("epochs"),
        manifest_sha256=record.record("copy").text("manifest_sha256"),
    )


def _arm(name: str, record: Record) -> AuditArm:
    seeds = record.numbers("seeds")
    if record.values.get("ratio") is None:
        return AuditArm(name=name, seeds=seeds)
    ratio = record.record("ratio")
    return AuditArm(
        name=name, seeds=seeds, ratio=ratio.number("value"), low=ratio.number("low"), high=ratio.number("high")
    )


def audit_outcome(audit: AuditSummary) -> Outcome:
    """For the first screen, as plainly where the protection does not work."""
    verdict = VERDICTS[audit.verdict]
    return Outcome(
        group=audit_group(audit),
        dataset=audit.dataset,
        verdict=verdict,
        sentence=_sentence(verdict, audit),
        uniform="",
        limits=_limits(audit),
    )


def audit_group(audit: AuditSummary) -> str:
    return f"{audit.dataset}, audit"


def _sentence(verdict: Verdict, audit: AuditSummary) -> str:
    if verdict is Verdict.OPEN:
        return f"Whether the copy is protected cannot be told: {audit.reason}."
    clean = sum(audit.arms[0].seeds) / len(audit.arms[0].seeds)
    worst = max((arm for arm in audit.arms if arm.ratio is not None), key=lambda arm: arm.ratio or 0.0)
    mean = sum(worst.seeds) / len(worst.seeds)
    start = "The protection does not work: m" if verdict is Verdict.FAILS else "M"
    return (
        f"{start}odels trained on the {worst.name} reach IoU {mean:.2f} on clean images; models trained on the "
        f"originals {clean:.2f} (ratio {worst.ratio:.2f})."
    )


def _limits(audit: AuditSummary) -> tuple[str, ...]:
    if not audit.arms or not audit.arms[0].seeds:
        return ()
    seeds, model = len(audit.arms[0].seeds), f"a small model ({audit.model}) that sees {audit.size} pixels"
    return (f"An audit is quick: {seeds} seeds of {model}. Larger models and other defences may learn more.",)


def audit_view(audit: AuditSummary) -> dict[str, object]:
    """The section: verdict, reason, table."""
    return {
        "dataset": audit.dataset,
        "verdict": VERDICTS[audit.verdict],
        "label": audit.verdict,
        "reason": f"{audit.reason[:1].upper()}{audit.reason[1:]}.",
        "rows": [_row(arm, style) for arm, style in zip(audit.arms, STYLES, strict=False) if arm.seeds],
        "trivial": "" if audit.trivial is None else f"{audit.trivial:.3f}",
        "setting": f"{audit.model}, {audit.size} pixels, {audit.epochs} epochs; {audit.train_images} training images, "
        f"{audit.test_images} clean test images",
    }


def _row(arm: AuditArm, style: int) -> dict[str, object]:
    has_interval = arm.low is not None and arm.high is not None
    return {
        "name": arm.name,
        "style": style,
        "mean": f"{sum(arm.seeds) / len(arm.seeds):.3f}",
        "ratio": "1" if arm.ratio is None else f"{arm.ratio:.3f}",
        "interval": f"{arm.low:.3f} \N{EN DASH} {arm.high:.3f}" if has_interval else "",
        "seeds": [f"{seed:.3f}" for seed in arm.seeds],
    }


def audit_chart(audit: AuditSummary) -> str:
    """A row for each way of training, with Student's interval over seeds; empty where nothing was trained."""
    intervals = []
    for arm, style in zip(audit.arms, STYLES, strict=False):
        if not arm.seeds:
            return ""
        mean, low, high = mean_interval(arm.seeds)
        one = charts.Interval(name=arm.name, style=style, mean=mean, low=low, high=high, values=arm.seeds)
        intervals.append(one)
    title = f"{audit.dataset}: IoU on clean test images"
    return charts.interval_chart(title=title, intervals=intervals, x_label="mean IoU (whisker: 95 % interval)")
