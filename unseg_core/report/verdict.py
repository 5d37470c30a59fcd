"""The first screen in words: did the protection work, said as plainly where it did not."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from unseg_core.report.comparison import ComparisonRow
from unseg_core.report.contents import CLEAN_METHOD, PROTECTED_METHOD, UNIFORM_METHOD, ProtectionSummary

# Ours, to turn a ratio into a word; the published results lie between 0.03 and 0.45 of the clean score.
HOLDS_UP_TO = 0.5
FAILS_FROM = 0.9
# A model this weak on the originals leaves little for a protection to take away.
WEAK_CLEAN_IOU = 0.3
# Differences below this are not worth a claim that one noise beats another.
CLEAR_IOU_GAP = 0.02
# Measured L-inf are whole levels; this only absorbs the decimal form of epsilon.
LEVEL_TOLERANCE = 1e-6


class Verdict(Enum):
    """What the ratio of protected to clean IoU says; the value names the style on the page."""

    HOLDS = "holds"
    PARTIAL = "partial"
    FAILS = "fails"
    OPEN = "open"


LABELS = {
    Verdict.HOLDS: "Protection holds",
    Verdict.PARTIAL: "Protection is partial",
    Verdict.FAILS: "Protection fails",
    Verdict.OPEN: "Not measured",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One data set and model (`group`): its verdict, what it and uniform noise do in words, what limits the claim."""

    group: str
    dataset: str
    verdict: Verdict
    sentence: str
    uniform: str
    limits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The title of the page: the worst verdict decides its colour."""

    verdict: Verdict
    label: str
    sentence: str


def judge(
    rows: Sequence[ComparisonRow], protections: Sequence[ProtectionSummary], method: str = PROTECTED_METHOD
) -> list[Outcome]:
    """One outcome per group of `rows`, in their order: what `method` does to training."""
    groups = dict.fromkeys(row.group for row in rows)
    return [_judge_group(group, [row for row in rows if row.group == group], protections, method) for group in groups]


def headline(outcomes: Sequence[Outcome]) -> Headline:
    """The sentence on top: the outcome itself where there is one, a count of verdicts where there are more."""
    if not outcomes:
        sentence = "No model was trained on the protected copy, so this report cannot say whether the protection works."
        return Headline(verdict=Verdict.OPEN, label=LABELS[Verdict.OPEN], sentence=sentence)
    verdicts = [outcome.verdict for outcome in outcomes]
    worst = next(v for v in (Verdict.FAILS, Verdict.PARTIAL, Verdict.OPEN, Verdict.HOLDS) if v in verdicts)
    sentence = outcomes[0].sentence if len(outcomes) == 1 else _count_sentence(outcomes)
    return Headline(verdict=worst, label=LABELS[worst], sentence=sentence)


def ratio_verdict(ratio: float) -> Verdict:
    """The word for protected IoU / clean IoU."""
    if ratio <= HOLDS_UP_TO:
        return Verdict.HOLDS
    return Verdict.FAILS if ratio >= FAILS_FROM else Verdict.PARTIAL


def bound_problems(summary: ProtectionSummary) -> list[str]:
    """What is wrong with one protected copy, in sentences; empty if the budget holds and every image was handled."""
    name = f"{summary.dataset} ({summary.method})"
    problems: list[str] = []
    for where, measured, bound in (
        ("inside", summary.linf_inside, summary.epsilon),
        ("outside", summary.linf_outside, summary.epsilon_bg),
    ):
        if measured > bound + LEVEL_TOLERANCE:
            reach = f"the noise {where} the region reaches {measured:g} levels"
            problems.append(f"{name}: {reach}, promised were {bound:g}.")
    if summary.over_budget:
        # A lossless file over the budget is a difference.
        why = ", by what JPEG's re-encoding adds; written as PNG they would keep it" if not summary.differences else ""
        problems.append(f"{name}: {_images(summary.over_budget)} over the budget when checked again{why}.")
    if summary.differences:
        problems.append(f"{name}: {summary.differences} differences between the manifest and the files.")
    if summary.failed:
        problems.append(f"{name}: {_images(summary.failed)} could not be protected, see manifest.jsonl.")
    if not summary.protected:
        problems.append(f"{name}: no image was protected.")
    if not summary.checked:
        problems.append(f"{name}: the copy was not checked against its manifest.")
    return problems


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _count_sentence(outcomes: Sequence[Outcome]) -> str:
    verdicts = [outcome.verdict for outcome in outcomes]
    things = "data sets" if len({outcome.dataset for outcome in outcomes}) == len(outcomes) else "comparisons"
    parts = [f"The protection holds on {verdicts.count(Verdict.HOLDS)} of {len(outcomes)} {things}"]
    for verdict, words in (
        (Verdict.PARTIAL, "is partial on"),
        (Verdict.FAILS, "does not work on"),
        (Verdict.OPEN, "was not measured on"),
    ):
        if count := verdicts.count(verdict):
            parts.append(f"{words} {count}")
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1] + "."


def _judge_group(
    group: str, rows: Sequence[ComparisonRow], protections: Sequence[ProtectionSummary], method: str
) -> Outcome:
    clean, protected, uniform = (_first(rows, name) for name in (CLEAN_METHOD, method, UNIFORM_METHOD))
    if clean is None or protected is None or protected.ratio_to_clean is None:
        sentence = _open_sentence(clean, protected)
        return Outcome(
            group=group, dataset=rows[0].dataset, verdict=Verdict.OPEN, sentence=sentence, uniform="", limits=()
        )
    verdict = ratio_verdict(protected.ratio_to_clean)
    return Outcome(
        group=group,
        dataset=rows[0].dataset,
        verdict=verdict,
        sentence=_sentence(verdict, clean, protected),
        uniform=_uniform_sentence(protected, uniform, protections),
        limits=tuple(_limits(verdict, clean, protected)),
    )


def _first(rows: Sequence[ComparisonRow], method: str) -> ComparisonRow | None:
    return next((row for row in rows if row.method == method), None)


def _open_sentence(clean: ComparisonRow | None, protected: ComparisonRow | None) -> str:
    if protected is None:
        return "No model was trained on the protected copy, so nothing can be said about the protection."
    score = f"Models trained on the protected copy reach IoU {protected.iou_mean:.2f} on clean images"
    if clean is None:
        return f"{score}; no model was trained on the originals, so there is nothing to compare with."
    return f"{score}; models trained on the originals reach 0.00 themselves, so the comparison says nothing."


def _sentence(verdict: Verdict, clean: ComparisonRow, protected: ComparisonRow) -> str:
    scores = (
        f"odels trained on the protected copy reach IoU {protected.iou_mean:.2f} on clean images; "
        f"models trained on the originals {clean.iou_mean:.2f} (ratio {protected.ratio_to_clean:.2f})."
    )
    starts = {Verdict.FAILS: "The protection does not work: m", Verdict.PARTIAL: "The protection works only in part: m"}
    return starts.get(verdict, "M") + scores


def _uniform_sentence(
    protected: ComparisonRow, uniform: ComparisonRow | None, protections: Sequence[ProtectionSummary]
) -> str:
    if protected.method == UNIFORM_METHOD:
        return ""
    ours = "the generator" if protected.method == PROTECTED_METHOD else f"the method {protected.method}"
    if uniform is None or uniform.ratio_to_clean is None:
        return f"Plain uniform noise was not evaluated, so how much is owed to {ours} stays open."
    budget = _budget_words(protected.dataset, protected.method, protections)
    score = f"Plain uniform noise {budget}: IoU {uniform.iou_mean:.2f} (ratio {uniform.ratio_to_clean:.2f})."
    gap = uniform.iou_mean - protected.iou_mean
    if gap > CLEAR_IOU_GAP:
        return f"{score} {ours[:1].upper()}{ours[1:]}'s noise takes it down by another {gap:.2f}."
    if gap < -CLEAR_IOU_GAP:
        return f"{score} That is lower than with {ours}'s noise: here the simpler noise protects better."
    return f"{score} That is as low as with {ours}'s noise: here {ours} adds nothing."


def _budget_words(dataset: str, method: str, protections: Sequence[ProtectionSummary]) -> str:
    budgets = {
        summary.method: (summary.epsilon, summary.epsilon_bg) for summary in protections if summary.dataset == dataset
    }
    if method not in budgets or UNIFORM_METHOD not in budgets:
        return "(budget not recorded)"
    if budgets[method] == budgets[UNIFORM_METHOD]:
        return "of the same budget"
    inside, outside = budgets[UNIFORM_METHOD]
    return f"of another budget ({inside:g} inside, {outside:g} outside)"


def _limits(verdict: Verdict, clean: ComparisonRow, protected: ComparisonRow) -> list[str]:
    limits: list[str] = []
    if clean.iou_mean < WEAK_CLEAN_IOU:
        limits.append("The models are weak on the originals already, so the ratio says little.")
    if protected.iou_high is None or clean.iou_low is None:
        limits.append("One seed only: how far chance moves these numbers is unknown.")
    elif verdict is not Verdict.FAILS and protected.iou_high >= clean.iou_low:
        limits.append("The confidence intervals of the two overlap: more seeds are needed to be sure.")
    return limits
