"""What the report shows, already loaded: plain data with no path and no file in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unseg_core.errors import DataError

PROTECTED_METHOD = "unseg"
CLEAN_METHOD = "clean"
UNIFORM_METHOD = "uniform"


@dataclass(frozen=True, kw_only=True)
class TrainPoint:
    """One epoch of generator training; `phase` is "surrogate" or "generator"."""

    epoch: int
    phase: str
    loss: float


@dataclass(frozen=True, kw_only=True)
class ProtectionSummary:
    """Totals of one protected copy; epsilon, epsilon_bg and both L-inf are in 8-bit levels, psnr in dB."""

    dataset: str
    method: str
    generator_sha256: str | None
    prompt: str
    epsilon: float
    epsilon_bg: float
    images: int
    protected: int
    no_target: int
    failed: int
    linf_inside: float
    linf_outside: float
    psnr: float | None
    checked: int
    differences: int
    over_budget: int
    manifest_sha256: str
    other_pictures: int = 0
    """And videos and archives: as in the original."""


@dataclass(frozen=True, kw_only=True)
class SeedScore:
    """IoU (0..1) on the clean test images of one downstream model; a class that has no test pixels scores None."""

    seed: int
    iou: float
    class_iou: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class EvaluationPoint:
    """One epoch of one downstream training; `test_iou` (0..1) is None where the epoch was not tested."""

    seed: int
    epoch: int
    train_loss: float
    test_iou: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Downstream models trained on one copy of a data set, one per seed, all tested on clean images."""

    run: str
    dataset: str
    method: str
    model: str
    encoder: str
    classes: tuple[str, ...]
    train_images: int
    test_images: int
    seeds: tuple[SeedScore, ...]
    curve: tuple[EvaluationPoint, ...]
    defences: tuple[str, ...] = ()
    """What the training did against the noise (evaluate.defences)."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise DataError(f"evaluation {self.run}: it has no seeds; run its evaluate stage again with at least one")


@dataclass(frozen=True, kw_only=True)
class AuditArm:
    """Small models trained in one way: IoU (0..1) of every seed, and its ratio to those trained on the originals.

    `ratio` and its 95 % interval are None for the originals themselves, and with one seed.
    """

    name: str
    seeds: tuple[float, ...]
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class AuditSummary:
    """The result of `unseg audit` for one copy; the first arm is that of the originals."""

    dataset: str
    verdict: str
    """protected, not protected, or cannot tell."""
    reason: str
    threshold: float
    arms: tuple[AuditArm, ...]
    trivial: float | None
    """IoU of the best prediction that is the same for every image."""
    train_images: int
    test_images: int
    model: str
    size: int
    """Pixels that the models see."""
    epochs: int
    manifest_sha256: str


@dataclass(frozen=True, kw_only=True)
class GalleryItem:
    """One image: clean and protected HxWx3 uint8, and the protected region HxW bool (None where unknown)."""

    dataset: str
    id: str
    clean: NDArray[np.uint8]
    protected: NDArray[np.uint8]
    region: NDArray[np.bool_] | None

    def __post_init__(self) -> None:
        if self.clean.ndim != 3 or self.clean.shape[2] != 3 or self.clean.shape != self.protected.shape:
            shapes = f"{self.clean.shape} and {self.protected.shape}"
            raise DataError(f"image {self.id} of {self.dataset}: clean and protected must be HxWx3 alike, not {shapes}")
        if self.region is not None and self.region.shape != self.clean.shape[:2]:
            raise DataError(f"image {self.id} of {self.dataset}: its region must be as large as the image")


@dataclass(frozen=True, kw_only=True)
class PixelHistogram:
    """How often each of the 256 values occurs over all channels of `images` images, clean and protected (int64)."""

    dataset: str
    images: int
    clean: NDArray[np.int64]
    protected: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.clean.shape != (256,) or self.protected.shape != (256,):
            raise DataError(f"histogram of {self.dataset}: clean and protected must be 256 counts each")


@dataclass(frozen=True, kw_only=True)
class ReportContents:
    """Everything on the page; `train` is metrics/train.json, or None where the generator was not trained here."""

    profile: str
    """Its name, or that of the copy."""
    scope: Literal["profile", "copy"] = "profile"
    """A copy alone has no comparison and no training to show."""
    params_text: str
    git_commit: str | None
    versions: Mapping[str, str]
    train: Mapping[str, str | int | float] | None = None
    train_curve: tuple[TrainPoint, ...] = ()
    protections: tuple[ProtectionSummary, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    audits: tuple[AuditSummary, ...] = ()
    galleries: tuple[GalleryItem, ...] = ()
    histograms: tuple[PixelHistogram, ...] = ()
