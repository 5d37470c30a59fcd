"""Parameters: one frozen dataclass per section of params.yaml, checked before anything runs.

`parse_params` turns the parsed YAML mapping into `Params`. Reading the file is the caller's
(tasks/parameters.py), so the library never looks for configuration by itself.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Literal, TypeVar

from unseg_core.errors import ParameterError

T = TypeVar("T")

LayoutName = Literal[
    "voc", "ade20k", "cityscapes", "nwpu", "ssdd", "whu", "coco", "coco-panoptic", "hqseg", "lung", "kvasir", "folder"
]  # fmt: skip
"""The keys of unseg_core.data.layouts.LAYOUTS, which is on a higher floor (a test compares them)."""


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ParameterError unless low <= value <= high."""
    if not low <= value <= high:
        raise ParameterError(f"{name} is {value}; give a value from {low} to {high}")


def check_name(name: str, value: str) -> None:
    """Raise ParameterError unless value can be a file name on every system."""
    if not value or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in value) or value[0] in ".-":
        raise ParameterError(f"{name}: {value!r} is not a usable name; use letters, digits, '-', '_' and '.'")


@dataclass(frozen=True, kw_only=True)
class RuntimeParams:
    """Where and how the work runs. These change results only in the last bits."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where there is a device."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Of the generator and the surrogate. `bf16` moves noise by up to 4e-2; `auto` takes it where the device is built
    for it."""
    threads: int = 2
    """CPU threads of one process. Fixed, because sums in another order give other last bits."""
    workers: int = 0
    """Processes that read and augment training images beside each training process; 0: that one does it itself."""
    processes: int = 1
    """Training processes on this machine; 0: one for each GPU. For several machines start `torchrun` yourself."""

    def __post_init__(self) -> None:
        check_range("runtime.threads", self.threads, 1, 1024)
        check_range("runtime.workers", self.workers, 0, 256)
        check_range("runtime.processes", self.processes, 0, 1024)


@dataclass(frozen=True, kw_only=True)
class SourceParams:
    """One data set that `fetch@SOURCE` brings into data/ROLE/SOURCE."""

    role: Literal["training", "datasets"]
    """`training`: the generator learns from it; `datasets`: it is protected and evaluated."""
    kind: Literal["scenes", "files", "hqseg"]
    """`scenes`: rendered by this project; `files`: copied from `path`; `hqseg`: HQSeg-44K, fetched and checked."""
    layout: LayoutName = "folder"
    path: str = ""
    """For `files`: a URL, an absolute path, or a path below UNSEG_DATA. For `hqseg` such a folder that holds DIS5K.zip,
    cascade_psp.zip and thin_object_detection.zip; empty for the official location."""
    archives: tuple[str, ...] = ()
    """For `hqseg`, instead of `path`: where each archive is; `#sha256:HEX` at the end of an entry is checked."""
    count: int = 0
    """Number of images; 0 takes all of them (`files`)."""
    size: int = 128
    """For `scenes`: height and width in pixels."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("sources.*.count", self.count, 0, 10_000_000)
        check_range("sources.*.size", self.size, 32, 4096)
        if self.kind == "scenes" and (self.count == 0 or self.layout != "folder"):
            raise ParameterError("sources.*: kind 'scenes' needs a count above 0 and layout 'folder'")
        if self.kind == "hqseg" and self.layout == "folder":
            # Its only one, and the field's default is another.
            object.__setattr__(self, "layout", "hqseg")
        if self.kind == "hqseg" and (self.count or (self.path and self.archives)):
            raise ParameterError("sources.*: kind 'hqseg' takes no count, and path or archives, not both")
        if self.archives and self.kind != "hqseg":
            raise ParameterError("sources.*.archives is for kind 'hqseg'; give path")
        if self.kind == "files" and not self.path:
            raise ParameterError("sources.*.path is empty; kind 'files' needs the folder or URL to copy from")


@dataclass(frozen=True, kw_only=True)
class WeightsParams:
    """The state both networks start from."""

    size: str = "tiny"
    """A name in unseg_core.model.sizes.SIZES."""
    seed: int = 0
    """Seed of the random initialisation."""
    generator: Literal["random", "sam", "published"] = "random"
    """`sam`: SAM's parts from the official checkpoint; `published`: everything from the authors' generator."""
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

    def __post_init__(self) -> None:
        check_range("datasets.*.epsilon", self.epsilon, 0, 255)
        check_range("datasets.*.epsilon_bg", self.epsilon_bg, 0, 255)
        check_range("datasets.*.test_share", self.test_share, 0.01, 0.99)
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

    methods: tuple[Literal["uniform", "synper", "ar", "cuda"], ...] = ("uniform",)


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
    """Seeds trained at the same time, each in a process of its own with an equal share of runtime.threads."""
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
    """Of protect.datasets: their copies by the generator are audited, and the stage fails unless they are protected."""
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


@dataclass(frozen=True, kw_only=True)
class ReportParams:
    gallery: int = 6
    """Images shown per protected data set."""

    def __post_init__(self) -> None:
        check_range("report.gallery", self.gallery, 1, 100)


@dataclass(frozen=True, kw_only=True)
class TrackingParams:
    """MLflow. MLFLOW_TRACKING_URI, where set, decides the server."""

    experiment: str = "unseg"
    model: str = "unseg-generator"
    alias: str = "champion"
    live: bool = True
    """Follow a training in MLflow while it runs."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """All of params.yaml."""

    profile: str
    runtime: RuntimeParams = field(default_factory=RuntimeParams)
    sources: dict[str, SourceParams] = field(default_factory=dict)
    weights: WeightsParams = field(default_factory=WeightsParams)
    train: TrainParams = field(default_factory=TrainParams)
    datasets: dict[str, DatasetParams] = field(default_factory=dict)
    protect: ProtectParams = field(default_factory=ProtectParams)
    baselines: BaselinesParams = field(default_factory=BaselinesParams)
    evaluate: EvaluateParams = field(default_factory=EvaluateParams)
    runs: dict[str, RunParams] = field(default_factory=dict)
    audit: AuditParams = field(default_factory=AuditParams)
    report: ReportParams = field(default_factory=ReportParams)
    tracking: TrackingParams = field(default_factory=TrackingParams)

    def __post_init__(self) -> None:
        for section in ("sources", "datasets", "runs"):
            for name in getattr(self, section):
                check_name(section, name)
        for key in ("sources", "validation"):
            for entry in getattr(self.train, key):
                name = entry.partition(":")[0]
                if name not in self.sources or self.sources[name].role != "training":
                    raise ParameterError(f"train.{key}: {name!r} is not a source with role 'training'")
                if self.sources[name].kind == "hqseg" and entry == name:
                    raise ParameterError(f"train.{key}: {name!r} has two splits; write {name}:train or {name}:val")
        for name in self.protect.datasets:
            self._known("protect.datasets", name)
        for name in self.audit.datasets:
            if name not in self.protect.datasets:
                raise ParameterError(f"audit.datasets: {name!r} is not in protect.datasets, so there is no copy of it")
        for name, run in self.runs.items():
            self._known(f"runs.{name}.dataset", run.dataset)
            self._check_train_on(name, run)
            self.recipe(name)

    def recipe(self, run: str) -> EvaluateParams:
        """The section `evaluate` with what the run changes in it.

        Raises:
            ParameterError: an unknown key, a value of the wrong type or out of range.
        """
        changes = self.runs[run].evaluate
        base = {one.name: getattr(self.evaluate, one.name) for one in fields(self.evaluate)}
        return build(EvaluateParams, {**base, **changes}, f"runs.{run}.evaluate") if changes else self.evaluate

    def _known(self, where: str, dataset: str) -> None:
        if dataset not in self.datasets:
            raise ParameterError(
                f"{where}: {dataset!r} is not in datasets; known: {', '.join(self.datasets) or 'none'}"
            )

    def _check_train_on(self, name: str, run: RunParams) -> None:
        methods = ["unseg", *self.baselines.methods] if run.dataset in self.protect.datasets else []
        paths = [f"data/datasets/{run.dataset}", *(f"data/protected/{run.dataset}/{m}" for m in methods)]
        if run.train_on not in paths:
            raise ParameterError(f"runs.{name}.train_on is {run.train_on!r}; this profile makes {', '.join(paths)}")


def parse_params(mapping: Mapping[str, Any], *, origin: str) -> Params:
    """Check a parsed params.yaml; `origin` names the file in messages.

    Raises:
        ParameterError: an unknown key, a value of the wrong type or out of range.
    """
    try:
        return build(Params, mapping, "")
    except ParameterError as error:
        raise ParameterError(f"{origin}: {error}") from None


def build(cls: type[T], mapping: Any, where: str) -> T:
    """Make the dataclass `cls` from a mapping, checking names and types; `where` is its dotted key."""
    if not isinstance(mapping, Mapping):
        raise ParameterError(f"{where or 'the file'} must be a mapping of names to values, not {mapping!r}")
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # T is always a dataclass here
    prefix = f"{where}." if where else ""
    for key in mapping:
        if key not in known:
            raise ParameterError(f"{prefix}{key} is not a parameter; {_suggestion(str(key), list(known))}")
    values = {key: _convert(hints[key], value, f"{prefix}{key}") for key, value in mapping.items()}
    for key, f in known.items():
        if key not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ParameterError(f"{prefix}{key} is missing; give it a value")
    try:
        return cls(**values)
    except ParameterError as error:
        raise ParameterError(_place(str(error), where)) from None


def _place(message: str, where: str) -> str:
    """Replace the `section.*` of a check by the entry it failed in."""
    section = where.split(".")[0]
    return message.replace(f"{section}.*", where) if section else message


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Check `value` against the type `hint`; lists become tuples, ints are taken where floats are due."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    if origin is Literal:
        if value not in arguments:
            raise ParameterError(f"{where} is {value!r}; choose one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ParameterError(f"{where} is {value!r}; give a list")
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ParameterError(f"{where} is {value!r}; give a mapping of names to values")
        return {str(key): _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    return _convert_scalar(hint, value, where)


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        raise TypeError(f"{where}: unions are not used in params")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number:
        return float(value)
    if hint is int and number and float(value).is_integer():
        return int(value)
    if hint in (str, bool) and isinstance(value, hint):
        return value
    raise ParameterError(f"{where} is {value!r}; give a value of type {hint.__name__}")
