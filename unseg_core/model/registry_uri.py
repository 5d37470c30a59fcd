"""Generators by the URI of a model registry: `models:/NAME@ALIAS` or `models:/NAME/VERSION` (MLflow)."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from unseg_core.errors import ParameterError, WeightsError
from unseg_core.remote_file import public_url
from unseg_core.storage import sha256_of

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

SCHEME = "models:/"
GENERATOR_FILE = "generator.safetensors"
SHA256_TAG = "generator_sha256"
"""Tag of a model version: which generator file it holds."""
CACHE = Path("~/.cache/unseg/generators")
SQLITE = "sqlite:///"
PATTERN = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@:]+)|/(?P<version>\d+))")
# MLflow reads these when it is imported. Its own 7 retries make an absent server a wait of minutes.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}


def quiet_mlflow() -> None:
    """Keep MLflow from reporting usage and from chatting, before its import; what the user has set stays."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def is_model_uri(location: str) -> bool:
    return location.startswith(SCHEME)


def resolve_model_uri(uri: str, *, cache: Path = CACHE) -> Path:
    """The local file of a registered generator: fetched once, and checked against the sha256 it was registered with.

    The registry is MLflow's own setting: MLFLOW_TRACKING_URI, or else mlflow.db in the current folder.

    Raises:
        ParameterError: `uri` is no such URI, or there is no registry.
        WeightsError: the registry has no such generator or cannot be reached, or the file is damaged.
    """
    found = PATTERN.fullmatch(uri)
    if found is None:
        raise ParameterError(f"{uri!r} is no model URI; write models:/NAME@ALIAS or models:/NAME/VERSION")
    quiet_mlflow()
    import mlflow
    from mlflow.exceptions import MlflowException

    registry = mlflow.get_registry_uri()
    if registry.startswith(SQLITE) and not Path(registry.removeprefix(SQLITE)).is_file():
        missing = registry.removeprefix(SQLITE)
        raise ParameterError(f"{uri}: {missing} does not exist; set MLFLOW_TRACKING_URI, or go to the project folder")
    try:
        return _fetch(uri, _version(**found.groupdict()), cache.expanduser())
    except (MlflowException, OSError) as error:
        reason = public_url(" ".join(str(error).split()))[:300]
        raise WeightsError(f"{uri}: {reason}; check the name and MLFLOW_TRACKING_URI") from error


def _version(name: str, alias: str | None, version: str | None) -> ModelVersion:
    from mlflow import MlflowClient

    client = MlflowClient()
    return client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, str(version))


def _fetch(uri: str, version: ModelVersion, cache: Path) -> Path:
    """Files lie under their sha256, so an alias that moves never serves the old one."""
    import mlflow

    sha256 = version.tags.get(SHA256_TAG)
    if not sha256:
        raise WeightsError(
            f"{uri} has no tag {SHA256_TAG}, so it is not a generator of this project; name another model"
        )
    target = cache / sha256 / GENERATOR_FILE
    if target.is_file() and sha256_of(str(target)) == sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        artifact = f"models:/{version.name}/{version.version}/artifacts/{GENERATOR_FILE}"
        fetched = mlflow.artifacts.download_artifacts(artifact_uri=artifact, dst_path=folder)
        if sha256_of(fetched) != sha256:
            raise WeightsError(
                f"{uri}: the stored file is not the one that was registered; register the generator again"
            )
        os.replace(fetched, target)
    return target
