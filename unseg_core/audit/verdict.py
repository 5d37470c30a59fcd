"""From scores to a verdict, which is only given where the numbers carry it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from unseg_core.evaluate.statistics import Interval

Answer = Literal["protected", "not protected", "cannot tell"]

MIN_TRAIN, MIN_TEST = 40, 30
"""Images. With fewer the interval over images means little."""
MARGIN = 0.05
"""IoU by which a model must beat a prediction that is the same for every image, to have learnt something."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    answer: Answer
    reason: str
    """One sentence, and what to do where there is no answer."""


def too_small(train: int, test: int) -> Verdict | None:
    """Said before anything is trained."""
    if train >= MIN_TRAIN and test >= MIN_TEST:
        return None
    return _unknown(
        f"the data set is too small: {train} images to train on and {test} to test on, at least {MIN_TRAIN} and "
        f"{MIN_TEST} are needed"
    )


def too_slow(minutes: float, needed: float) -> Verdict:
    """Two seeds do not fit into the time."""
    return _unknown(
        f"{minutes:g} minutes are too short for two seeds here; --minutes {needed:.0f} would do, and what is finished "
        "is kept"
    )


def judge(
    clean: Sequence[float],
    arms: Mapping[str, tuple[Sequence[float], Interval | None]],
    *,
    trivial: float,
    threshold: float,
) -> Verdict:
    """Weigh the scores of all seeds; the arm in which the copy does worst decides.

    Args:
        clean: scores of models trained on the source, by seed.
        arms: for every way of training on the copy, scores by seed and their ratio to clean.
        trivial: the score of a prediction that is the same for every image.
    """
    if min(clean) < trivial + MARGIN:
        return _unknown(
            f"the small model does not learn this data set from the originals: IoU {min(clean):.2f}, where one "
            f"prediction for all images scores {trivial:.2f}; evaluate a larger model for longer"
        )
    ratios = {name: ratio for name, (_, ratio) in arms.items()}
    if any(ratio is None for ratio in ratios.values()):
        return _unknown("one seed says nothing about chance; give more minutes")
    known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    worst = max(known, key=lambda name: known[name].high)
    if known[worst].high <= threshold:
        return Verdict(answer="protected", reason=_statement(worst, known[worst], threshold, "at most"))
    open_arms = [name for name, ratio in known.items() if ratio.low > threshold]
    if not open_arms:
        return _unknown(
            f"{_statement(worst, known[worst], threshold, 'on both sides of')}; more minutes, seeds or test images "
            "would narrow the interval"
        )
    worst = max(open_arms, key=lambda name: known[name].low)
    if _mean(arms[worst][0]) < trivial + MARGIN:
        return _unknown(
            f"the data set is too easy: one prediction for all images scores {trivial:.2f} already, and models trained "
            "on the copy score no more"
        )
    return Verdict(answer="not protected", reason=_statement(worst, known[worst], threshold, "above"))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _statement(arm: str, ratio: Interval, threshold: float, where: str) -> str:
    interval = f"{ratio.low:.2f} to {ratio.high:.2f}"
    return (
        f"models trained on the {arm} reach {ratio.value:.2f} of the clean score (95 % interval {interval}), {where} "
        f"the threshold of {threshold:g}"
    )


def _unknown(reason: str) -> Verdict:
    return Verdict(answer="cannot tell", reason=reason)
