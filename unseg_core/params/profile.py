"""All of params.yaml, and the sections that are small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from unseg_core.errors import ParameterError
from unseg_core.params.build import build
from unseg_core.params.checks import check_name, check_range
from unseg_core.params.evaluate import AuditParams, EvaluateParams, RunParams
from unseg_core.params.protect import BaselinesParams, DatasetParams, ProtectParams
from unseg_core.params.runtime import RuntimeParams
from unseg_core.params.sources import SourceParams
from unseg_core.params.train import TrainParams, WeightsParams


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
        methods = ("unseg", *self.baselines.methods)
        if self.audit.method not in methods:
            raise ParameterError(f"audit.method is {self.audit.method!r}; this profile makes {', '.join(methods)}")
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
