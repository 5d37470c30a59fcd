"""The audit: is the copy one of its source, what the numbers carry, the time there is, and every verdict for real."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import PROJECT
from PIL import Image
from tiny_layouts import MAKERS
from typer.testing import CliRunner

from tasks import audit as stage
from tasks.dvc_results import LockedStage, result_stages, stage_metrics
from tasks.graph import read_graph
from tasks.parameters import load_params
from unseg_core.audit import run as audit_run
from unseg_core.audit.pair import Pair, divide, load_both, open_pair
from unseg_core.audit.ratio import Trials, ratio_of
from unseg_core.audit.run import CLEAN, COPY, DEFENDED, Audit, recipe_of, run_audit, work_name
from unseg_core.audit.trivial import trivial_score
from unseg_core.audit.verdict import MARGIN, judge, too_small
from unseg_core.audit.words import audit_text
from unseg_core.cli import app
from unseg_core.data.layouts import open_layout
from unseg_core.data.sample import Target
from unseg_core.errors import DataError, ParameterError
from unseg_core.evaluate.image_scores import ImageScore
from unseg_core.evaluate.run import SeedResult, evaluate_seeds
from unseg_core.evaluate.statistics import Interval
from unseg_core.params import AuditParams, DatasetParams, ProtectParams, RuntimeParams, parse_params
from unseg_core.protect.engine import protect_dataset
from unseg_core.protect.manifest import Settings, read_summary, settings_from
from unseg_core.protect.methods.method import Method
from unseg_core.protect.methods.uniform import UniformNoise

CPU = RuntimeParams(device="cpu", threads=2)
TINY: dict[str, Any] = {"size": 32, "views": 450, "seeds": [0, 1], "defences": ["noise:8"]}


# --- data that a model learns in seconds


def write_discs(root: Path, count: int) -> Path:
    """Grey noise with one disc, which is a little redder: 40 x 40 pixels, images/ and masks/."""
    rng = np.random.Generator(np.random.PCG64(11))
    rows, columns = np.mgrid[:40, :40]
    for sub in ("images", "masks"):
        (root / sub).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = rng.integers(70, 150) + rng.normal(0, 10, (40, 40, 3))
        y, x = rng.integers(10, 30, 2)
        disc = (rows - y) ** 2 + (columns - x) ** 2 < 64
        pixels[disc, 0] += 40
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "images" / f"{number:03d}.png")
        Image.fromarray(disc.astype(np.uint8) * 255).save(root / "masks" / f"{number:03d}.png")
    return root


@dataclass(frozen=True, kw_only=True)
class Decoy(Method):
    """Takes the red from the discs and makes them blue: models learn blue, which no clean disc is."""

    name: str = "uniform"

    def noise(self, image_HWC: np.ndarray, target: Target, image_id: str) -> np.ndarray:
        wanted = np.array([-0.5, 0.0, 1.0], dtype=np.float32).reshape(3, 1, 1)
        return np.broadcast_to(wanted, (3, target.height, target.width))


def protect(source: Path, copy: Path, method: Method, epsilon: float) -> Path:
    dataset = DatasetParams(classes=("object",), epsilon=epsilon, epsilon_bg=0)
    settings = Settings.of(dataset, ProtectParams(), method="uniform", generator_sha256=None, precision="fp32")
    protect_dataset(open_layout("folder", str(source)), method, settings, str(copy))
    return copy


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """source, the copy `strong`, and the copy `none`, whose files are new and whose pixels are not."""
    root = tmp_path_factory.mktemp("discs")
    source = write_discs(root / "source", 160)
    protect(source, root / "strong", Decoy(), 80)
    protect(source, root / "none", UniformNoise(), 0)
    return root


def pair_of(root: Path, copy: str = "strong") -> Pair:
    settings = settings_from(read_summary(str(root / copy))["settings"])
    return open_pair(str(root / copy), open_layout("folder", str(root / "source")), settings)


def small(tmp_path: Path, count: int = 8) -> Path:
    protect(write_discs(tmp_path / "source", count), tmp_path / "strong", Decoy(), 80)
    return tmp_path


# --- the copy and its source


def test_images_are_divided_without_overlap_and_within_the_caps(discs: Path) -> None:
    pair = pair_of(discs)
    train, test = divide(pair, test_share=0.25, train_images=50, test_images=1000)
    ids = [[sample.id for sample, _ in part] for part in (train, test)]
    assert list(map(len, ids)) == [50, 40]
    assert not set(ids[0]) & set(ids[1])
    other = divide(pair_of(discs, "none"), test_share=0.25, train_images=50, test_images=1000)
    assert ids == [[sample.id for sample, _ in part] for part in other], "whatever the copy"


def test_both_sides_have_the_same_labels_and_other_pixels(discs: Path) -> None:
    pair = pair_of(discs)
    loaded = load_both(pair, pair.matched[:5], 32)
    assert loaded.source.ids == loaded.copy.ids == tuple(sample.id for sample, _ in pair.matched[:5])
    assert torch.equal(loaded.source.labels, loaded.copy.labels)
    assert loaded.source.images.shape == (5, 3, 32, 32)
    inside = loaded.source.labels == 1
    change = loaded.copy.images[:, 2].int() - loaded.source.images[:, 2].int()
    assert change[inside].float().mean() > 60
    assert change[~inside].float().abs().mean() < 6, "what resizing mixes at the edge"


def test_failed_images_are_on_neither_side(tmp_path: Path) -> None:
    write_discs(tmp_path / "source", 6)
    (tmp_path / "source" / "images" / "002.png").write_bytes(b"no image")
    protect(tmp_path / "source", tmp_path / "strong", Decoy(), 80)
    assert [sample.id for sample, _ in pair_of(tmp_path).matched] == ["000", "001", "003", "004", "005"]


def test_png_copies_of_jpegs_are_found_by_their_new_names(tmp_path: Path) -> None:
    source = write_discs(tmp_path / "source", 3)
    for path in sorted((source / "images").iterdir()):
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    settings = Settings.of(
        DatasetParams(), ProtectParams(image_format="png"), method="uniform", generator_sha256=None, precision="fp32"
    )
    protect_dataset(open_layout("folder", str(source)), UniformNoise(), settings, str(tmp_path / "strong"))
    pair = pair_of(tmp_path)
    assert load_both(pair, pair.matched, 32).copy.images.shape == (3, 3, 32, 32)


@pytest.mark.parametrize("name", list(MAKERS))
def test_copies_in_every_layout_are_matched(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path / "source")
    source = open_layout(name, str(tmp_path / "source"))
    dataset = DatasetParams(layout=source.name, classes=source.classes)
    settings = Settings.of(dataset, ProtectParams(), method="uniform", generator_sha256=None, precision="fp32")
    protect_dataset(source, UniformNoise(), settings, str(tmp_path / "strong"))
    pair = open_pair(str(tmp_path / "strong"), source, settings)
    loaded = load_both(pair, pair.matched, 32)
    assert loaded.copy.ids == tuple(sample.id for sample in source.samples())
    assert loaded.source.labels.max() > 0
    assert not torch.equal(loaded.source.images, loaded.copy.images)
    assert pair.scored == source.classes


def test_only_protected_classes_are_scored(tmp_path: Path) -> None:
    source = write_discs(tmp_path / "source", 4)
    layout = open_layout("folder", str(source), classes=["cat", "dog", "bird"])
    settings = settings_from({**asdict(protection_settings()), "classes": layout.classes, "targets": "dog,bird"})
    protect_dataset(layout, UniformNoise(), settings, str(tmp_path / "strong"))
    assert open_pair(str(tmp_path / "strong"), layout, settings).scored == ("dog", "bird")
    trials = Trials.of([[ImageScore(id="a", sums={"cat": (1, 2), "dog": (1, 4)})]], ("dog", "bird"))
    assert trials.scores()[0, 0] == 0.25


def protection_settings() -> Settings:
    return Settings.of(DatasetParams(), ProtectParams(), method="uniform", generator_sha256=None, precision="fp32")


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no copy": (lambda root: (root / "strong" / "manifest.json").unlink(), "no complete manifest"),
    "a source with more": (lambda root: write_discs(root / "source", 9), "its manifest lacks 008;"),
    "a source with less": (
        lambda root: [(root / "source" / sub / "003.png").unlink() for sub in ("images", "masks")],
        "its manifest lists 003, which the original has not",
    ),
    "another image": (
        lambda root: Image.new("RGB", (40, 40)).save(root / "source" / "images" / "003.png"),
        "source/images/003.png is not the file that was protected",
    ),
    "a changed copy": (
        lambda root: Image.new("RGB", (40, 40)).save(root / "strong" / "images" / "003.png"),
        "strong/images/003.png is not the file that was written",
    ),
    "a hole in the copy": (
        lambda root: (root / "strong" / "images" / "003.png").unlink(),
        "strong/images/003.png does not exist; check the path (the manifest names it)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_does_not_match_is_named(mistake: str, tmp_path: Path) -> None:
    root = small(tmp_path)
    damage, message = MISTAKES[mistake]
    damage(root)

    def read() -> None:
        pair = pair_of(root)
        load_both(pair, pair.matched, 32)

    with pytest.raises(DataError) as caught:
        read()
    assert message in str(caught.value)


def test_other_classes_are_refused(tmp_path: Path) -> None:
    root = small(tmp_path)
    settings = settings_from(read_summary(str(root / "strong"))["settings"])
    source = open_layout("folder", str(root / "source"), classes=["disc"])
    with pytest.raises(DataError, match=r"strong has the classes object but .*source has disc; protect"):
        open_pair(str(root / "strong"), source, settings)


# --- numbers


def made_trials(scores: Sequence[float], images: int = 40) -> Trials:
    """Every image of a seed has the same IoU."""
    above = np.repeat(np.array(scores)[:, None, None], images, axis=1) * 100
    return Trials(above=above, below=np.full_like(above, 100))


def test_equal_scores_are_ratio_one_without_doubt() -> None:
    trials = made_trials([0.4, 0.5, 0.6])
    assert ratio_of(trials, trials) == Interval(value=1.0, low=1.0, high=1.0)


def test_doubt_over_seeds_is_student_t_of_the_paired_residuals() -> None:
    # By hand: ratio 0.2 / 0.5 = 0.4; residuals 0.1 - 0.4 * 0.4 = -0.06, 0, 0.06; sd 0.06; standard error
    # 0.06 / sqrt(3) / 0.5 = 0.069282; times t(0.975, 2) = 4.302653: 0.2981. All images are alike and add nothing.
    found = ratio_of(made_trials([0.1, 0.2, 0.3]), made_trials([0.4, 0.5, 0.6]))
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert (found.low, found.high) == pytest.approx((0.4 - 0.2981, 0.4 + 0.2981), abs=0.05), "2,000 draws"


def test_one_seed_or_nothing_to_compare_with_has_no_interval() -> None:
    assert ratio_of(made_trials([0.1]), made_trials([0.5])) is None
    assert ratio_of(made_trials([0.1, 0.1]), made_trials([0.0, 0.0])) is None


def test_doubt_over_images_narrows_with_their_number() -> None:
    rng = np.random.Generator(np.random.PCG64(3))

    def width(images: int) -> float:
        def trials(mean: float) -> Trials:
            above = np.tile(rng.uniform(0, 2 * mean, (1, images, 1)) * 100, (2, 1, 1))
            return Trials(above=above, below=np.full_like(above, 100))

        found = ratio_of(trials(0.2), trials(0.4))
        assert found is not None
        assert found.low < found.value < found.high
        return found.high - found.low

    assert width(400) < 0.6 * width(40)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """100 made audits of three seeds and 60 images with a true ratio of 0.4; 95 % promised, 90 % asked for here."""
    rng = np.random.Generator(np.random.PCG64(5))

    def trials(mean: float, image_part: np.ndarray) -> Trials:
        seeds = mean * (1 + 0.15 * rng.standard_normal((3, 1, 1)))
        above = (seeds * (1 + 0.5 * image_part[None, :, None])).clip(0) * 100
        return Trials(above=above, below=np.full_like(above, 100))

    held = 0
    for _ in range(100):
        images = rng.uniform(-1, 1, 60)
        found = ratio_of(trials(0.2, images), trials(0.5, images))
        held += found is not None and found.low <= 0.4 <= found.high
    assert held >= 90


def test_scores_are_the_mean_over_classes_that_occur() -> None:
    seeds = [[ImageScore(id="a", sums={"cat": (1, 2)}), ImageScore(id="b", sums={"cat": (1, 2), "dog": (0, 5)})]]
    trials = Trials.of(seeds, ("cat", "dog", "bird"))
    assert trials.scores()[0, 0] == pytest.approx((0.5 + 0.0) / 2)
    first_twice = np.array([[2.0, 0.0]])
    assert trials.scores(first_twice)[0, 0] == pytest.approx(0.5), "no dog was drawn"


def test_trivial_score_is_the_best_prediction_that_never_looks() -> None:
    labels = torch.zeros((10, 4, 4), dtype=torch.uint8)
    labels[:, 1:3, 1:3] = 1
    assert trivial_score(labels, labels, ("object",), ("object",)) == 1.0, "always at the same place"
    anywhere = torch.zeros((16, 4, 4), dtype=torch.uint8)
    anywhere.view(16, 16)[range(16), range(16)] = 1
    assert trivial_score(anywhere, anywhere, ("object",), ("object",)) == pytest.approx(1 / 16), "everything is object"
    two = torch.zeros((2, 1, 3), dtype=torch.uint8)
    two[:] = torch.tensor([[1, 2, 255]])
    assert trivial_score(two, two, ("cat", "dog"), ("cat", "dog")) == 1.0, "what is to be ignored does not count"
    swapped = torch.stack([two[0], torch.tensor([[1, 0, 0]], dtype=torch.uint8)])
    both = trivial_score(swapped, swapped, ("cat", "dog"), ("cat", "dog"))
    assert both < trivial_score(swapped, swapped, ("cat", "dog"), ("cat",)) == 1.0


# --- verdicts

CLEAR = [0.5, 0.52, 0.48]


def verdict(high: float, low: float, defended: tuple[float, float] = (0.1, 0.0), **changes: Any) -> tuple[str, str]:
    arms = {
        COPY: ([0.4, 0.4], Interval(value=(low + high) / 2, low=low, high=high)),
        DEFENDED: ([0.4, 0.4], Interval(value=0.05, low=defended[1], high=defended[0])),
    }
    found = judge(
        changes.pop("clean", CLEAR), changes.pop("arms", arms), **{"trivial": 0.2, "threshold": 0.5, **changes}
    )
    return found.answer, found.reason


def test_the_worse_way_of_training_decides() -> None:
    assert verdict(0.2, 0.0)[0] == "protected"
    answer, reason = verdict(0.2, 0.0, defended=(0.9, 0.6))
    assert answer == "not protected"
    assert "with a defence" in reason
    assert "0.60 to 0.90" in reason
    assert verdict(1.0, 0.8)[0] == "not protected"


def test_an_interval_around_the_threshold_is_no_answer() -> None:
    answer, reason = verdict(0.7, 0.3)
    assert answer == "cannot tell"
    assert "on both sides of the threshold of 0.5; more minutes" in reason
    assert verdict(0.7, 0.3, threshold=0.75)[0] == "protected"
    assert verdict(0.7, 0.3, threshold=0.25)[0] == "not protected"


def test_a_model_that_learns_nothing_is_no_answer() -> None:
    answer, reason = verdict(0.2, 0.0, clean=[0.5, 0.2 + MARGIN / 2])
    assert answer == "cannot tell"
    assert "does not learn this data set" in reason
    assert "IoU 0.23, where one prediction for all images scores 0.20" in reason


def test_data_that_are_scored_without_looking_are_no_proof_against_a_copy() -> None:
    answer, reason = verdict(0.9, 0.7, trivial=0.4, clean=[0.6, 0.6])
    assert answer == "cannot tell"
    assert "too easy" in reason
    assert verdict(0.2, 0.0, trivial=0.4, clean=[0.6, 0.6])[0] == "protected", "worse than without looking"


def test_one_seed_is_no_answer() -> None:
    assert verdict(0, 0, arms={COPY: ([0.1], None)})[0] == "cannot tell"


def test_few_images_are_no_answer_before_anything_is_trained(tmp_path: Path) -> None:
    assert too_small(40, 30) is None
    found = run_audit(pair_of(small(tmp_path)), AuditParams(), CPU, tmp_path / "work")
    assert found.verdict.answer == "cannot tell"
    assert "too small: 6 images to train on and 2 to test on" in found.verdict.reason
    assert not (tmp_path / "work").exists()
    assert "too small" in audit_text(found)


# --- time, restart


class Trainer:
    """Stands in for the training, to see which are asked for; takes `seconds` on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, seconds: float = 0.0) -> None:
        self.asked: list[tuple[str, int]] = []
        self.now = 0.0
        self.seconds = seconds
        self.stop_at: int | None = None
        monkeypatch.setattr(audit_run, "evaluate_seeds", self)
        monkeypatch.setattr(audit_run, "train_and_test", self.estimate)
        monkeypatch.setattr(audit_run.time, "monotonic", lambda: self.now)

    def estimate(self, train: Any, *_: Any) -> None:
        self.now += self.seconds * len(train.ids) / 4500

    def __call__(self, train: Any, test: Any, classes: Any, params: Any, runtime: Any, work: Path) -> list[SeedResult]:
        (seed,) = params.seeds
        file = work / f"seed{seed}.json"
        if not file.exists():
            if self.stop_at == len(self.asked):
                raise KeyboardInterrupt
            self.asked.append((work.name, seed))
            self.now += self.seconds
            work.mkdir(parents=True, exist_ok=True)
            file.write_text("{}")
        iou = {"originals": 0.6, "copy": 0.1}.get(work.name, 0.2) + 0.001 * seed
        images = tuple(ImageScore(id=one, sums={"object": (100 * iou, 100.0)}) for one in test.ids)
        return [SeedResult(seed=seed, iou=iou, class_iou={}, train_loss=0.0, curve=(), images=images)]


def audit(discs: Path, work: Path, **changes: Any) -> Audit:
    params = AuditParams(**{"size": 32, "seeds": (0, 1, 2), **changes})
    return run_audit(pair_of(discs), params, CPU, work)


def test_seeds_take_turns(discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(monkeypatch)
    found = audit(discs, tmp_path)
    arms = ["originals", "copy", "copy-with-a-defence"]
    assert trainer.asked == [(arm, seed) for seed in (0, 1, 2) for arm in arms]
    assert found.verdict.answer == "protected"
    assert found.complete
    assert found.arms[COPY].iou == pytest.approx(0.101)
    assert found.arms[DEFENDED].ratio == Interval(
        value=pytest.approx(0.201 / 0.601), low=pytest.approx(0.334, abs=0.01), high=pytest.approx(0.335, abs=0.01)
    )
    assert list(audit(discs, tmp_path / "other", defences=()).arms) == [CLEAN, COPY]


def test_no_seed_is_begun_that_would_not_end_in_time(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(monkeypatch, seconds=60)
    found = audit(discs, tmp_path, minutes=8)
    assert len(trainer.asked) == 6
    assert found.trained_seeds == (0, 1)
    assert not found.complete
    assert found.verdict.answer == "protected"
    assert found.seconds == pytest.approx(360, abs=2)


def test_far_too_little_time_is_said_before_any_training(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(monkeypatch, seconds=600)
    found = audit(discs, tmp_path / "work", minutes=10)
    assert trainer.asked == []
    assert trainer.now < 20
    assert found.verdict.answer == "cannot tell"
    assert "10 minutes are too short for two seeds here; --minutes 69 would do" in found.verdict.reason


def test_continued_audit_begins_nothing_that_would_not_end_in_time(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(monkeypatch, seconds=60)
    audit(discs, tmp_path, minutes=8)
    assert len(trainer.asked) == 6
    trainer.now, trainer.seconds = 0.0, 600.0
    found = audit(discs, tmp_path, minutes=8)
    assert len(trainer.asked) == 6
    assert found.trained_seeds == (0, 1)
    assert found.verdict.answer == "protected", "what was kept is judged"


def test_too_little_time_is_said_after_the_first_training_and_more_time_goes_on(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(monkeypatch, seconds=120)
    found = audit(discs, tmp_path, minutes=10)
    assert len(trainer.asked) == 1
    assert found.verdict.answer == "cannot tell"
    assert "10 minutes are too short for two seeds here; --minutes 15 would do" in found.verdict.reason
    assert found.trained_seeds == ()
    assert "IoU on clean images" not in audit_text(found)
    trainer.now = 0.0
    assert audit(discs, tmp_path, minutes=15).verdict.answer == "protected"
    assert len(trainer.asked) == 6


def test_interrupted_audit_keeps_what_is_finished(discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(monkeypatch)
    trainer.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        audit(discs, tmp_path)
    trainer.stop_at = None
    assert audit(discs, tmp_path).complete
    assert len(trainer.asked) == len(set(trainer.asked)) == 9


def test_work_is_continued_only_by_the_same_audit(discs: Path) -> None:
    name = work_name(pair_of(discs), AuditParams(), RuntimeParams())
    assert work_name(pair_of(discs), AuditParams(minutes=1, threshold=0.1, seeds=(0, 1)), RuntimeParams()) == name
    assert work_name(pair_of(discs), AuditParams(views=9), RuntimeParams()) != name
    assert work_name(pair_of(discs, "none"), AuditParams(), RuntimeParams()) != name


def test_other_labels_or_another_device_are_other_trainings(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert work_name(pair_of(discs), AuditParams(), RuntimeParams(precision="bf16")) != work_name(
        pair_of(discs), AuditParams(), RuntimeParams()
    )
    trainer = Trainer(monkeypatch)
    audit(discs, tmp_path / "work")
    first = len(trainer.asked)
    audit(discs, tmp_path / "work")
    assert len(trainer.asked) == first
    changed = shutil.copytree(discs, tmp_path / "discs")
    for mask in (changed / "source" / "masks").iterdir():
        Image.fromarray(np.asarray(Image.open(mask))[::-1]).save(mask)
    audit(changed, tmp_path / "work")
    assert len(trainer.asked) == 2 * first


def test_what_is_typed_goes_before_a_file(discs: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, command(discs, "strong", tmp_path, "--json", "--threshold", "7", threshold=0.4))
    assert done.exit_code == 2
    assert "audit.threshold is 7.0" in json.loads(done.stdout)["error"]


def test_cost_does_not_grow_with_the_data() -> None:
    params = AuditParams(views=1000)
    assert [recipe_of(params, images).epochs for images in (50, 100, 5000)] == [20, 10, 1]
    own = AuditParams(evaluate={"model": "deeplabv3", "epochs": 3})
    assert (recipe_of(own, 100).model, recipe_of(own, 100).epochs) == ("deeplabv3", 3)
    with pytest.raises(ParameterError, match=r"audit\.evaluate\.epoch is not a parameter"):
        recipe_of(AuditParams(evaluate={"epoch": 3}), 100)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"threshold": 2}, "audit.threshold is 2.0"),
        ({"seeds": [1]}, "audit.seeds needs at least two"),
        ({"minute": 1}, "audit.minute is not a parameter; did you mean 'minutes'?"),
        ({"datasets": ["photos"]}, "audit.datasets: 'photos' is not in protect.datasets"),
        ({"method": "synper"}, "audit.method is 'synper'; this profile makes unseg, uniform"),
    ],
)
def test_mistakes_in_the_parameters_are_named(section: dict[str, Any], message: str) -> None:
    mapping = yaml.safe_load((PROJECT / "profiles" / "starter.yaml").read_text())
    with pytest.raises(ParameterError) as caught:
        parse_params({**mapping, "audit": section}, origin="x")
    assert message in str(caught.value)


# --- for real


def settings_file(root: Path, **changes: Any) -> Path:
    path = root / "audit.yaml"
    audit = {**TINY, **changes}
    path.write_text(yaml.safe_dump({"audit": audit, "runtime": {"device": "cpu"}}))
    return path


def command(discs: Path, copy: str, tmp_path: Path, *options: str, **changes: Any) -> list[str]:
    params = settings_file(tmp_path, **changes)
    work, out = tmp_path / "work", tmp_path / "audit.json"
    return [
        "audit", str(discs / copy), "--against", str(discs / "source"), "--params", str(params),
        "--work", str(work), "--out", str(out), *options,
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("copy", "answer", "code"), [("strong", "protected", 0), ("none", "not protected", 1)])
def test_models_tell_a_protected_copy_from_another(
    copy: str, answer: str, code: int, discs: Path, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, command(discs, copy, tmp_path, "--json"))
    assert done.exit_code == code, done.output
    result = json.loads(done.stdout)
    assert result["verdict"] == answer
    assert result == json.loads((tmp_path / "audit.json").read_text())
    arms = result["arms"]
    assert min(arms[CLEAN]["seeds"]) > result["trivial"] + MARGIN
    assert set(arms) == {CLEAN, COPY, DEFENDED}
    if copy == "none":
        assert arms[COPY]["ratio"] == {"value": 1.0, "low": 1.0, "high": 1.0}, "the same pixels"
    else:
        assert arms[COPY]["ratio"]["high"] < 0.5
    assert (result["train_images"], result["test_images"], result["trained_seeds"]) == (120, 40, [0, 1])
    assert result["copy"]["manifest_sha256"] == read_summary(str(discs / copy))["manifest_sha256"]
    assert not (tmp_path / "work").exists() or not list((tmp_path / "work").iterdir())


@pytest.mark.slow
def test_killed_audit_goes_on_where_it_was(discs: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "unseg_core.cli", *command(discs, "strong", tmp_path, views=160, defences=[])]
    with subprocess.Popen(arguments, cwd=PROJECT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("audit: originals, seed 0"):
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stderr.read()
        assert process.wait() == 130, rest
    assert "the same command continues" in rest
    done = subprocess.run(arguments, cwd=PROJECT, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr.count("(kept)") == 1
    assert "IoU on clean images" in done.stdout


def test_usage_errors_are_one_line(discs: Path, tmp_path: Path) -> None:
    for options, message in (
        (("--threshold", "7"), "audit.threshold is 7.0"),
        (("--set", "train.epochs=1"), "write audit.NAME=VALUE or runtime.NAME=VALUE"),
        (("--classes", "disc"), "has the classes object but"),
        (("--layout", "voc"), "has no JPEGImages"),
    ):
        arguments = ["audit", str(discs / "strong"), "--against", str(discs / "source"), "--json", *options]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2, done.output
        assert message in json.loads(done.stdout)["error"]


# --- the stage


def make_project(discs: Path, root: Path, copy: str) -> None:
    for name, source in (("datasets/discs", "source"), ("protected/discs/unseg", copy)):
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / name).symlink_to(discs / source)
    mapping = yaml.safe_load((PROJECT / "profiles" / "starter-smoke.yaml").read_text())
    mapping["datasets"] = {"discs": {"layout": "folder"}}
    mapping |= {"protect": {"datasets": ["discs"]}, "runs": {}, "audit": {**TINY, "datasets": ["discs"]}}
    (root / "params.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")


@pytest.mark.parametrize(("copied", "code"), [(0.1, 0), (0.58, 1)])
def test_stage_is_a_gate(
    copied: float, code: int, discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    make_project(discs, tmp_path, "strong")
    trainer = Trainer(monkeypatch)
    real = trainer.__call__

    def train(*arguments: Any) -> list[SeedResult]:
        (found,) = real(*arguments)
        if arguments[-1].name != "copy":
            return [found]
        images = tuple(ImageScore(id=one.id, sums={"object": (100 * copied, 100.0)}) for one in found.images)
        return [SeedResult(**{**vars(found), "iou": copied, "images": images})]

    monkeypatch.setattr(audit_run, "evaluate_seeds", train)
    assert stage.main(["discs"]) == code
    first = Path("metrics/audit/discs.json").read_bytes()
    metrics = json.loads(first)
    assert metrics["verdict"] == ("protected" if code == 0 else "not protected")
    assert metrics["dataset"] == "discs"
    printed = capsys.readouterr()
    assert metrics["verdict"] in printed.out
    assert ("metrics/audit/discs.json has the numbers" in printed.err) == bool(code)
    locked = LockedStage(
        name="audit@discs", key="", command="", params={},
        outputs={"metrics/audit/discs.json": hashlib.md5(first, usedforsecurity=False).hexdigest()},
    )  # fmt: skip
    tracked = stage_metrics(tmp_path, locked)
    assert tracked.texts["verdict"] == metrics["verdict"]
    assert tracked.numbers["arms/copy/iou"] == pytest.approx(copied)
    assert "audit@discs" in result_stages(load_params())
    trainer.now, trainer.seconds = 5.0, 7.0
    stage.main(["discs"])
    assert Path("metrics/audit/discs.json").read_bytes() == first, "DVC compares bytes"


@pytest.mark.parametrize(("method", "made_by"), [("unseg", "protect@kvasir"), ("uniform", "baseline@kvasir-uniform")])
def test_graph_has_a_gate_for_every_audited_data_set(method: str, made_by: str, tmp_path: Path) -> None:
    shutil.copy(PROJECT / "dvc.yaml", tmp_path)
    text = (PROJECT / "profiles" / "objects-tiny.yaml").read_text()
    chosen = f"audit: {{datasets: [kvasir], method: {method}}}"
    (tmp_path / "params.yaml").write_text(text.replace("audit: {datasets: [], method: unseg}", chosen))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=tmp_path, check=True)
    nodes = {node.name: node for node in read_graph(tmp_path, ["audit"]).stages}
    assert set(nodes["audit@kvasir"].upstream) == {"fetch@kvasir", made_by}
    assert nodes["audit@kvasir"].metrics == (Path("metrics/audit/kvasir.json"),)


def test_finished_trainings_of_the_library_are_found(discs: Path, tmp_path: Path) -> None:
    """The audit tells kept trainings from new ones by the file that evaluate_seeds leaves."""
    pair = pair_of(discs)
    loaded = load_both(pair, pair.matched[:8], 32)
    recipe = recipe_of(AuditParams(size=32, views=8, seeds=(0, 1)), 8)
    one = type(recipe)(**{**vars(recipe), "seeds": (1,)})
    (found,) = evaluate_seeds(loaded.source, loaded.source, pair.source.classes, one, CPU, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["seed1.json"]
    trials = Trials.of([found.images], pair.source.classes)
    assert trials.scores()[0, 0] == pytest.approx(found.iou, abs=1e-6), "the sums are those of the score"
