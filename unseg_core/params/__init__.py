"""Parameters: one frozen dataclass per section of params.yaml, checked before anything runs.

`parse_params` turns the parsed YAML mapping into `Params`. Reading the file is the caller's
(tasks/parameters.py), so the library never looks for configuration by itself.
"""

from unseg_core.params.build import build
from unseg_core.params.checks import check_name, check_range
from unseg_core.params.evaluate import EXECUTION, AuditParams, EvaluateParams, RunParams
from unseg_core.params.profile import Params, ReportParams, TrackingParams, parse_params
from unseg_core.params.protect import BaselinesParams, DatasetParams, ExecutionParams, ProtectParams
from unseg_core.params.runtime import RuntimeParams
from unseg_core.params.sources import LayoutName, SourceParams
from unseg_core.params.train import TrainParams, WeightsParams

__all__ = [
    "EXECUTION",
    "AuditParams",
    "BaselinesParams",
    "DatasetParams",
    "EvaluateParams",
    "ExecutionParams",
    "LayoutName",
    "Params",
    "ProtectParams",
    "ReportParams",
    "RunParams",
    "RuntimeParams",
    "SourceParams",
    "TrackingParams",
    "TrainParams",
    "WeightsParams",
    "build",
    "check_name",
    "check_range",
    "parse_params",
]
