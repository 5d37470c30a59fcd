"""Sections `weights` and `train`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unseg_core.errors import ParameterError
from unseg_core.params.checks import check_range


@dataclass(frozen=True, kw_only=True)
class WeightsParams:
    """The state both networks start from."""

    size: str = "tiny"
    """A name in unseg_core.model.sizes.SIZES."""
    seed: int = 0
    """Seed of the random initialisation."""
    generator: Literal["random", "sam", "published"] = "random"
    """`sam`: SAM's parts from the official checkpoint; `published`: everything from the authors' generator."""
    noise_filter: Literal["none", "band-pass", "stripes"] = "none"
    """What the generator's noise goes through (unseg_core.model.noise_filters.NOISE_FILTERS); `none` is the paper's."""
    surrogate: Literal["random", "mae", "resnet50", "resnet50-random"] = "random"
    """`random` and `mae` (He et al., 2022) have a ViT, the other two a ResNet-50, from ImageNet or random."""
    generator_url: str = ""
    """Where the generator's checkpoint is: a URL or path instead of the official location; `#sha256:HEX` at its end is
    checked. For `sam` it may be a folder (ending in `/`) that holds the backbone, prompt and mask decoder apart."""
    surrogate_url: str = ""
    """The same for the surrogate."""

    def __post_init__(self) -> None:
        if self.generator == "published" and not self.generator_url:
            raise ParameterError(
                "weights.generator_url is empty; the published generator can only be fetched with a browser: "
                "follow the link in the authors' README and give the path of Generator_unseg_final.pth here"
            )
        if self.generator == "published" and self.noise_filter != "none":
            raise ParameterError(f"weights.noise_filter is {self.noise_filter!r}; the published generator has none")
        for name, start, url in (
            ("generator", self.generator, self.generator_url),
            ("surrogate", self.surrogate, self.surrogate_url),
        ):
            if url and start.endswith("random"):
                raise ParameterError(
                    f"weights.{name}_url is given, but weights.{name} is {start!r}; change one of them"
                )


@dataclass(frozen=True, kw_only=True)
class TrainParams:
    """The bilevel training of the generator (paper, section 4; docs/method.md)."""

    sources: tuple[str, ...] = ()
    """Names of the sources to learn from, each with role `training`."""
    seed: int = 0
    epochs: int = 27
    surrogate_every: int = 4
    """Epochs 0, k, 2k, ... train the surrogate; all others the generator."""
    batch_size: int = 4
    """Images of one optimiser step, over all processes."""
    micro_batch: int = 0
    """Images that a process runs at one time; gradients of a step's parts are added up. 0: its whole share."""
    learning_rate: float = 1e-4
    """Of Adam, for both players."""
    decay_epoch: int = 20
    """From this epoch on the learning rate is a tenth."""
    epsilon: float = 1.0
    """Amplitude on the object, 8-bit levels."""
    epsilon_bg: float = 0.25
    """Amplitude elsewhere, 8-bit levels."""
    label_modification: bool = True
    """The generator's target is all ones (paper) instead of the true mask."""
    surrogate_prompt: Literal["drawn", "whole"] = "drawn"
    """`drawn`: one kind at random (paper); `whole`: the whole image, so that the surrogate has to find the object by
    itself, as downstream models have to."""
    degradations: tuple[Literal["blur", "resize", "noise", "jpeg"], ...] = ()
    """What noised images may go through on their way to the surrogate (keys of unseg_core.train.degrade.DEGRADATIONS),
    each with probability 1/2. The paper has none."""
    train_sam: bool = False
    """Train the generator's SAM parts too, for sizes that have no pretrained SAM."""
    scale_min: float = 0.1
    scale_max: float = 2.0
    """Large-scale jitter: the range of sizes relative to the input size."""
    points: int = 12_544
    """Points at which the losses are sampled (112 x 112 in the paper)."""
    validation: tuple[str, ...] = ()
    """Names of the sources that both phases are validated on, noised and clean; `NAME:SPLIT` for one of its splits."""
    validation_images: int = 0
    """Of each of them, the first so many; 0 takes all."""
    validate_every: int = 1
    """Validate after every so many epochs, and after the last."""
    gradient_checkpointing: bool = False
    """Keep only the input of every transformer block for the backward pass: far less memory, a third more time."""
    compile: bool = False
    """Let torch.compile fuse what lies between the products of the encoders; needs a C++ compiler."""
    checkpoint_minutes: float = 10.0
    """A checkpoint is written after every epoch, and within one after so many minutes."""

    def __post_init__(self) -> None:
        check_range("train.epochs", self.epochs, 1, 100_000)
        check_range("train.surrogate_every", self.surrogate_every, 2, 100_000)
        check_range("train.batch_size", self.batch_size, 1, 65_536)
        check_range("train.learning_rate", self.learning_rate, 1e-9, 1.0)
        check_range("train.epsilon", self.epsilon, 0, 255)
        check_range("train.epsilon_bg", self.epsilon_bg, 0, 255)
        check_range("train.scale_min", self.scale_min, 0.01, self.scale_max)
        check_range("train.points", self.points, 4, 1_000_000)
        check_range("train.micro_batch", self.micro_batch, 0, 65_536)
        check_range("train.validate_every", self.validate_every, 1, 100_000)
        check_range("train.validation_images", self.validation_images, 0, 10_000_000)
        check_range("train.checkpoint_minutes", self.checkpoint_minutes, 0, 100_000)
