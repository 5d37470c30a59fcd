"""The audit itself: models in turn on the source, on the copy, and on the copy with a defence, seed after seed."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unseg_core.audit.pair import Loaded, Pair, divide, load_both
from unseg_core.audit.ratio import Trials, ratio_of
from unseg_core.audit.trivial import trivial_score
from unseg_core.audit.verdict import Verdict, judge, too_slow, too_small
from unseg_core.device import prepare_device
from unseg_core.evaluate.dataset import LabelledImages
from unseg_core.evaluate.run import SeedResult, evaluate_seeds, train_and_test
from unseg_core.evaluate.statistics import Interval
from unseg_core.params import AuditParams, EvaluateParams, RuntimeParams, build
from unseg_core.protect.manifest import versions

CLEAN, COPY, DEFENDED = "originals", "copy", "copy with a defence"
ESTIMATED_STEPS = 8
SPARE = 1.1
"""A training is only begun if this many times the longest one before would still be in time."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What the models of one way of training scored on clean test images."""

    iou: float | None
    """Mean over seeds."""
    seeds: tuple[float, ...]
    ratio: Interval | None = None
    """To the models trained on the originals."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The result, as `--json` prints it."""

    verdict: Verdict
    threshold: float
    arms: Mapping[str, Arm]
    trivial: float | None
    """IoU of the best prediction that is the same for every image."""
    trained_seeds: tuple[int, ...]
    """Those that were trained in every arm."""
    complete: bool
    """All seeds that were asked for."""
    classes: tuple[str, ...]
    scored: tuple[str, ...]
    """Classes whose IoU counts: those that were protected."""
    train_images: int
    test_images: int
    probe: Mapping[str, Any]
    """What was trained, and how."""
    copy: Mapping[str, Any]
    """What was audited, from its manifest."""
    minutes: float
    seconds: float
    """That this run took; what an earlier one had finished is not in it."""
    versions: Mapping[str, str] = field(default_factory=versions)

    def as_json(self) -> dict[str, Any]:
        """With the verdict's answer and reason on top."""
        return {**asdict(self), **asdict(self.verdict), "verdict": self.verdict.answer}


def recipe_of(params: AuditParams, train_images: int) -> EvaluateParams:
    """The probe: as many epochs as make up the images that each model is to see."""
    epochs = max(1, round(params.views / max(train_images, 1)))
    base = {"size": params.size, "seeds": list(params.seeds), "epochs": epochs, "test_every": epochs}
    return build(EvaluateParams, {**PROBE, **base, **params.evaluate}, "audit.evaluate")


PROBE: dict[str, Any] = {
    "model": "unet",
    "encoder": "",
    "width": "tiny",
    "batch_size": 8,
    "learning_rate": 3e-3,
    # Without it one training of many never leaves the background, and nothing can be said.
    "clip_norm": 1.0,
}
SHOWN = (
    *("model", "encoder", "width", "size", "epochs", "batch_size", "learning_rate", "clip_norm"),
    *("encoder_weights", "weights"),
)
"""Of the recipe, in the result."""


def work_name(pair: Pair, params: AuditParams, runtime: RuntimeParams) -> str:
    """A name for the folder of finished trainings: equal only where they can be continued.

    Those with other labels have folders of their own in it. Minutes and threshold may change: finished trainings are
    those of any time.
    """
    chosen = {f.name: getattr(params, f.name) for f in fields(AuditParams) if f.name not in LATER}
    where = [runtime.device, runtime.precision]
    what = [pair.summary["manifest_sha256"], list(pair.source.classes), chosen, where, versions()]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


LATER = ("datasets", "method", "threshold", "minutes", "seeds")
"""Parameters that change no training."""


class Clock:
    """The time there is, and how long a training takes."""

    def __init__(self, minutes: float) -> None:
        self.start = time.monotonic()
        self.minutes = minutes
        self.longest = 0.0

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def took(self, seconds: float) -> None:
        self.longest = max(self.longest, seconds)

    def left_for(self, trainings: int) -> bool:
        return self.seconds() + SPARE * self.longest * trainings <= 60 * self.minutes


def run_audit(pair: Pair, params: AuditParams, runtime: RuntimeParams, work: Path) -> Audit:
    """Train as many seeds as fit into params.minutes, at most params.seeds, and judge.

    Finished trainings are kept in `work` and not done again.

    Raises:
        ManifestError: a file of the copy or the source is not as the manifest says.
        DataError: a file is damaged.
        TrainingError: the loss of a model is not finite.
    """
    clock = Clock(params.minutes)
    chosen, held = divide(
        pair, test_share=params.test_share, train_images=params.train_images, test_images=params.test_images
    )
    recipe = recipe_of(params, len(chosen))
    rounds = _Rounds(pair=pair, params=params, recipe=recipe, runtime=runtime, work=work, clock=clock)
    small = too_small(len(chosen), len(held))
    if small:
        return rounds.result(small, trained=len(chosen), tested=len(held))
    train, test = load_both(pair, chosen, recipe.size), load_both(pair, held, recipe.size)
    trivial = trivial_score(train.source.labels, test.source.labels, pair.source.classes, pair.scored)
    slow = rounds.train(train, test.source)
    return rounds.result(slow, trained=len(chosen), tested=len(held), trivial=trivial)


def _first(images: LabelledImages, count: int) -> LabelledImages:
    return LabelledImages(images=images.images[:count], labels=images.labels[:count], ids=images.ids[:count])


def _digest(*labels: torch.Tensor) -> str:
    """The manifest knows the images, and not what is in them by which masks."""
    found = hashlib.sha256()
    for one in labels:
        found.update(one.numpy().tobytes())
    return found.hexdigest()[:16]


class _Rounds:
    """Trainings in turn, and what they found."""

    def __init__(
        self,
        *,
        pair: Pair,
        params: AuditParams,
        recipe: EvaluateParams,
        runtime: RuntimeParams,
        work: Path,
        clock: Clock,
    ) -> None:
        self.pair, self.params, self.recipe = pair, params, recipe
        self.runtime, self.work, self.clock = runtime, work, clock
        self.found: dict[str, list[SeedResult]] = {CLEAN: [], COPY: []}
        if params.defences:
            self.found[DEFENDED] = []

    def train(self, train: Loaded, test: LabelledImages) -> Verdict | None:
        """Seed after seed, so that an end at any time leaves whole comparisons; a verdict if two do not fit."""
        self.work /= _digest(train.source.labels, test.labels)
        begun = 0
        for seed in self.recipe.seeds:
            for arm, found in self.found.items():
                is_kept = self._file(arm, seed).exists()
                if not is_kept and not self._in_time(self._missing(begun), train):
                    return self._short(begun)
                found.append(self._one(arm, seed, train, test))
                begun += 1
        return None

    def _in_time(self, trainings: int, train: Loaded) -> bool:
        if self.clock.longest:
            return self.clock.left_for(trainings)
        return self._may_fit(trainings, train)

    def _may_fit(self, trainings: int, train: Loaded) -> bool:
        """The same from a few steps, before minutes are spent on the first training."""
        size = self.recipe.batch_size
        some, few = (_first(train.source, count) for count in (ESTIMATED_STEPS * size, size))
        recipe = EvaluateParams(**{**vars(self.recipe), "epochs": 1, "test_every": 1})
        device = prepare_device(self.runtime)
        for _ in range(2):  # the first has to warm up
            start = time.monotonic()
            train_and_test(some, few, self.pair.source.classes, recipe, 0, device)
            seconds = time.monotonic() - start
        images = len(train.source.ids) * self.recipe.epochs
        estimate = seconds * images / len(some.ids)
        # Halved: a rough number must not end an audit that would have ended in time.
        self.clock.took(estimate / 2)
        fits = self.clock.left_for(trainings)
        self.clock.longest = 0.0 if fits else estimate
        return fits

    def _missing(self, begun: int) -> int:
        """Trainings that must still fit for the next one to be worth its time: a whole seed, or the first two."""
        whole = len(self.found)
        return max(whole - begun % whole, 2 * whole - begun)

    def _short(self, begun: int) -> Verdict | None:
        two = 2 * len(self.found)
        if begun >= two:
            return None
        needed = self.clock.seconds() + SPARE * self.clock.longest * (two - begun)
        return too_slow(self.params.minutes, np.ceil(needed / 60) + 1)

    def _one(self, arm: str, seed: int, train: Loaded, test: LabelledImages) -> SeedResult:
        images = train.source if arm == CLEAN else train.copy
        defences = {"defences": self.params.defences} if arm == DEFENDED else {}
        recipe = EvaluateParams(**{**vars(self.recipe), "seeds": (seed,), **defences})
        file = self._file(arm, seed)
        is_new, start = not file.exists(), time.monotonic()
        (result,) = evaluate_seeds(images, test, self.pair.source.classes, recipe, self.runtime, file.parent)
        seconds = time.monotonic() - start
        if is_new:
            self.clock.took(seconds)
        took = f"{seconds:.0f} s" if is_new else "kept"
        print(f"audit: {arm}, seed {seed}: IoU {result.iou:.3f} ({took})", file=sys.stderr, flush=True)
        return result

    def _file(self, arm: str, seed: int) -> Path:
        """That evaluate_seeds leaves."""
        return self.work / arm.replace(" ", "-") / f"seed{seed}.json"

    def result(self, verdict: Verdict | None, *, trained: int, tested: int, trivial: float | None = None) -> Audit:
        """Whole seeds only; judged unless there is a verdict already."""
        whole = min(map(len, self.found.values()))
        arms = {name: self._arm(name, found[:whole]) for name, found in self.found.items()}
        if verdict is None:
            assert trivial is not None
            others = {name: (arm.seeds, arm.ratio) for name, arm in arms.items() if name != CLEAN}
            verdict = judge(arms[CLEAN].seeds, others, trivial=trivial, threshold=self.params.threshold)
        return Audit(
            verdict=verdict,
            threshold=self.params.threshold,
            arms=arms,
            trivial=trivial,
            trained_seeds=self.recipe.seeds[:whole],
            complete=whole == len(self.recipe.seeds),
            classes=self.pair.source.classes,
            scored=self.pair.scored,
            train_images=trained,
            test_images=tested,
            probe=self._probe(),
            copy=_copy(self.pair.summary),
            minutes=self.params.minutes,
            seconds=round(self.clock.seconds(), 1),
        )

    def _arm(self, name: str, found: Sequence[SeedResult]) -> Arm:
        if not found:
            return Arm(iou=None, seeds=())
        scores = tuple(self._trials(found).scores()[:, 0].tolist())
        clean = self.found[CLEAN][: len(found)]
        ratio = None if name == CLEAN else ratio_of(self._trials(found), self._trials(clean))
        return Arm(iou=float(np.mean(scores)), seeds=scores, ratio=ratio)

    def _trials(self, found: Sequence[SeedResult]) -> Trials:
        return Trials.of([result.images for result in found], self.pair.scored)

    def _probe(self) -> dict[str, Any]:
        return {**{name: getattr(self.recipe, name) for name in SHOWN}, "defences": list(self.params.defences)}


def _copy(summary: Mapping[str, Any]) -> dict[str, Any]:
    names = ("method", "generator_sha256", "epsilon", "epsilon_bg", "targets", "prompt", "layout")
    kept = {name: summary["settings"][name] for name in names}
    return {**kept, "manifest_sha256": summary["manifest_sha256"], **summary["totals"]}
