"""Sections `evaluate`, `runs` and `audit`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from unseg_core.errors import ParameterError
from unseg_core.params.checks import check_range

EXECUTION = ("parallel", "workers", "memory_gib")
"""Of EvaluateParams, what changes no result."""


@dataclass(frozen=True, kw_only=True)
class EvaluateParams:
    """The recipe of the downstream models."""

    task: Literal["semantic", "medical", "instance", "panoptic", "detection", "interactive"] = "semantic"
    """What is learned and scored; `medical` is `semantic` with IoU and Dice."""
    model: str = "unetplusplus"
    """A name in unseg_core.evaluate.models.MODELS."""
    encoder: str = "resnet18"
    """A name that the model knows; `deeplabv1` has only VGG16, `unet` none; they ignore it."""
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    """Of `unetplusplus`."""
    width: Literal["paper", "tiny"] = "paper"
    """`tiny`: the same architecture, narrow and shallow, for tests and CPUs; not for the encoders of smp."""
    encoder_weights: str = ""
    """Of the encoder: a file (for smp's encoders also `imagenet`), for `mask2former` a Hub name or folder; empty:
    random."""
    weights: str = ""
    """Of the whole model, whose classes may be others: a file, for `mask2former` and `sam_hq` a Hub name or folder;
    empty: random."""
    size: int = 256
    """Images and labels are resized to this height and width in pixels."""
    epochs: int = 40
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    """Of AdamW."""
    clip_norm: float = 0.0
    """Gradients are scaled down to this norm; 0: they are not."""
    seeds: tuple[int, ...] = (0, 1, 2)
    parallel: int = 1
    """Trainings at the same time (seeds, and in `unseg evaluate` copies), each in a process of its own with an equal
    share of runtime.threads."""
    workers: int = 4
    """Images that are read at the same time."""
    memory_gib: float = 8.0
    """Images and labels of a semantic split are kept in memory if they take at most so much; else every batch is read
    anew. Other tasks always do that."""
    test_every: int = 5
    """Test after every so many epochs (and always after the last) for the curves."""
    defences: tuple[str, ...] = ()
    """What the training does against the noise, `NAME` or `NAME:VALUE` such as `jpeg:75`; names are the keys of
    unseg_core.evaluate.defences.DEFENCES."""
    precision: Literal["runtime", "auto", "fp32", "bf16"] = "runtime"
    """`runtime`: as runtime.precision, which is the generator's too."""

    def __post_init__(self) -> None:
        check_range("evaluate.size", self.size, 32, 4096)
        check_range("evaluate.epochs", self.epochs, 1, 100_000)
        check_range("evaluate.batch_size", self.batch_size, 2, 65_536)
        check_range("evaluate.learning_rate", self.learning_rate, 1e-9, 1.0)
        check_range("evaluate.weight_decay", self.weight_decay, 0.0, 1.0)
        check_range("evaluate.clip_norm", self.clip_norm, 0.0, 1e6)
        check_range("evaluate.workers", self.workers, 1, 1024)
        check_range("evaluate.memory_gib", self.memory_gib, 0.0, 1e6)
        check_range("evaluate.test_every", self.test_every, 1, 100_000)
        check_range("evaluate.parallel", self.parallel, 1, 1024)
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ParameterError("evaluate.seeds needs at least one seed, each named once")


@dataclass(frozen=True, kw_only=True)
class RunParams:
    """One evaluation: train on `train_on`, test on clean images of `dataset`."""

    dataset: str
    train_on: str
    """data/datasets/NAME (clean) or data/protected/NAME/METHOD."""
    protected_share: float = 1.0
    """Of the training images, taken from the protected copy; the others are clean. Chosen by a hash of their ids, so
    that the images of a smaller share are among those of a larger one."""
    evaluate: dict[str, Any] = field(default_factory=dict)
    """What differs from the section `evaluate` in this run."""

    def __post_init__(self) -> None:
        check_range("runs.*.protected_share", self.protected_share, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class AuditParams:
    """Small models trained on a copy, to say whether it may be released (docs/audit.md)."""

    datasets: tuple[str, ...] = ()
    """Of protect.datasets: their copies are audited, and the stage fails unless they are protected."""
    method: str = "unseg"
    """Which copies: `unseg` or one of baselines.methods."""
    threshold: float = 0.5
    """A copy is protected if models trained on it reach at most this share of the clean models' score, at the upper end
    of the 95 % interval."""
    minutes: float = 10.0
    """No seed is begun that would not end within this time."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """At most these; two are needed for a verdict."""
    test_share: float = 0.25
    """Of the images, kept for testing."""
    train_images: int = 750
    """At most so many, chosen by a hash of their ids."""
    test_images: int = 250
    views: int = 4_500
    """Training images that each model sees, counting every epoch; so the cost does not grow with the data set."""
    size: int = 96
    """Height and width in pixels that the models see. Noise that averages out on the way down protects no one from a
    thief who trains small."""
    defences: tuple[str, ...] = ("gaussian:1", "noise:16")
    """Of a second model of the copy, as in evaluate.defences; none: it is not trained."""
    evaluate: dict[str, Any] = field(default_factory=dict)
    """What differs from the recipe of the models, as in the section `evaluate`."""

    def __post_init__(self) -> None:
        check_range("audit.threshold", self.threshold, 0.0, 1.0)
        check_range("audit.minutes", self.minutes, 0.01, 100_000)
        check_range("audit.test_share", self.test_share, 0.01, 0.99)
        check_range("audit.train_images", self.train_images, 1, 10_000_000)
        check_range("audit.test_images", self.test_images, 1, 10_000_000)
        check_range("audit.views", self.views, 1, 1_000_000_000)
        check_range("audit.size", self.size, 32, 4096)
        if len(set(self.seeds)) != len(self.seeds) or len(self.seeds) < 2:
            raise ParameterError("audit.seeds needs at least two seeds, each named once")
