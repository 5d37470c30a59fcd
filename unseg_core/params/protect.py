"""Sections `datasets`, `protect` and `baselines`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from unseg_core.errors import ParameterError
from unseg_core.params.checks import check_range
from unseg_core.params.sources import LayoutName

NetworklessName = Literal["grating", "class-grating", "dual-grating", "uniform", "synper", "ar", "cuda"]

MAX_CLASSES = 65_534
"""What 16-bit maps of categories hold."""


@dataclass(frozen=True, kw_only=True)
class DatasetParams:
    """How one data set is read, protected and split."""

    layout: LayoutName = "folder"
    classes: tuple[str, ...] = ()
    """Names of the classes 1, 2, ... of the label maps; one name means binary masks. Empty: the layout's own, which all
    but `folder`, `hqseg`, `whu`, `kvasir` and `lung` insist on."""
    split: str = ""
    """Only the samples of this split are protected and evaluated; empty: all."""
    annotations: str = ""
    """For `coco` and `coco-panoptic`: the JSON file, below the data set or anywhere; empty: in the usual place."""
    epsilon: float = 8.0
    """Budget inside the protected region, 8-bit levels."""
    epsilon_bg: float = 2.0
    """Budget outside, 8-bit levels."""
    targets: str = "all"
    """`all`, `things`, or classes separated by commas: names, or the data set's own numbers."""
    prompt: Literal["mask", "box", "point", "whole"] = "mask"
    test_share: float = 0.2
    """Share of the images that evaluation keeps for testing, drawn by a hash of their ids."""
    test_split: str = ""
    """Instead of a share: evaluation tests on this split, and trains on all images of `split`."""

    def __post_init__(self) -> None:
        check_range("datasets.*.epsilon", self.epsilon, 0, 255)
        check_range("datasets.*.epsilon_bg", self.epsilon_bg, 0, 255)
        check_range("datasets.*.test_share", self.test_share, 0.01, 0.99)
        if self.test_split and self.test_split == self.split:
            raise ParameterError(f"datasets.*.test_split is {self.test_split!r}, as split is; test on another one")
        if self.test_split and not self.split:
            raise ParameterError("datasets.*.test_split needs datasets.*.split, the one to protect and to train on")
        if len(set(self.classes)) != len(self.classes) or len(self.classes) > MAX_CLASSES:
            raise ParameterError(f"datasets.*.classes needs different names, at most {MAX_CLASSES:,}")


@dataclass(frozen=True, kw_only=True)
class ExecutionParams:
    """How the work of protection is shared out; none of this changes a byte in float32."""

    SECTION: ClassVar[str] = ""
    """What stands before the names in messages."""
    engine: Literal["local", "ray"] = "local"
    """This machine, or those of a Ray cluster."""
    workers: int = 0
    """Threads of a process that decode, and as many that encode; 0: by device."""
    batch_size: int = 0
    """Most images of one pass of the network; 0: one on a CPU, several on a GPU."""
    processes: int = 0
    """Of this machine; 0: one, or one for each GPU."""
    ray_address: str = ""
    """Of the Ray cluster; empty starts one on this machine."""

    def __post_init__(self) -> None:
        check_range(f"{self.SECTION}workers", self.workers, 0, 1024)
        check_range(f"{self.SECTION}batch_size", self.batch_size, 0, 4096)
        check_range(f"{self.SECTION}processes", self.processes, 0, 1024)


@dataclass(frozen=True, kw_only=True)
class ProtectParams(ExecutionParams):
    """Which data sets are protected, and how the copies are written."""

    SECTION: ClassVar[str] = "protect."
    datasets: tuple[str, ...] = ()
    seed: int = 0
    image_format: Literal["auto", "png", "jpeg"] = "auto"
    """`auto` keeps each file's format; `png` is lossless for every source."""
    no_target: Literal["copy", "skip", "whole"] = "copy"
    """What happens to images without a target object."""


@dataclass(frozen=True, kw_only=True)
class BaselinesParams:
    """Methods to protect the same data sets with, for comparison."""

    methods: tuple[NetworklessName, ...] = ("uniform",)
