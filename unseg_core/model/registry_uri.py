"""Generators by the URI of a model registry: `models:/NAME@ALIAS` or `models:/NAME/VERSION` (MLflow)."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from unseg_core.errors import ParameterError, WeightsError
from unseg_core.storage import replace_folder

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

SCHEME = "models:/"
FILE = "generator.safetensors"
SHA256_TAG = "generator_sha256"
CACHE = Path("~/.cache/unseg/generators")
_PATTERN = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@:]+)|/(?P<version>\d+))")


def is_model_uri(location: str) -> bool:
    return location.startswith(SCHEME)


def resolve_model_uri(uri: str, *, cache: Path = CACHE) -> Path:
    """The local file of a registered generator, fetched once and checked against the sha256 it was registered with.

    The registry is MLflow's: MLFLOW_TRACKING_URI, else mlflow.db in the current folder.

    Raises:
        ParameterError: `uri` is no such URI, or no registry is configured.
        WeightsError: the registry has no such generator, cannot be reached, or the file is damaged.
    """
    found = _PATTERN.fullmatch(uri)
    if found is None:
        raise ParameterError(f"{uri!r} is no model URI; write models:/NAME@ALIAS or models:/NAME/VERSION")
    _check_registry(uri)
    from mlflow.exceptions import MlflowException

    try:
        return _fetch(uri, _find(found), cache.expanduser())
    except (MlflowException, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{uri}: {reason}; check the name and MLFLOW_TRACKING_URI") from error


def _check_registry(uri: str) -> None:
    """Without this MLflow would make an empty database in the current folder and search that."""
    for name, value in {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}.items():
        os.environ.setdefault(name, value)
