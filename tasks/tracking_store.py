"""Opening MLflow: which server, its database and experiment; one process of a project at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock, Timeout

from unseg_core.errors import UnsegError
from unseg_core.model.registry_uri import SQLITE, quiet_mlflow
from unseg_core.remote_file import public_url

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.exceptions import MlflowException

LIVE_TAG = "live_training"
"""Tag of a run that a training has opened: the name of its work folder, so that a restart goes on in it."""
GENERATOR_TAG = "live_generator"
"""Tag of a finished one: the sha256 of its generator, by which `tasks.tracking` finds it."""
URI_VARIABLE = "MLFLOW_TRACKING_URI"
DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
LOCK_SECONDS = 600.0
SQLITE_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True, kw_only=True)
class TrackingStore:
    """An open MLflow with its experiment."""

    client: MlflowClient
    experiment: str
    experiment_id: str
    uri: str
    """Of the tracking server; may hold a password; for people there is `public_url`."""


def tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI, or the sqlite database in the project folder."""
    return os.environ.get(URI_VARIABLE) or f"{SQLITE}{root.resolve() / DATABASE}"


@contextlib.contextmanager
def open_store(root: Path, experiment: str) -> Iterator[TrackingStore]:
    """Connect, and create database and experiment where they are missing.

    The lock spans the whole block: three processes on a cold sqlite file crash two of them, and two that track the
    same results would both find them missing.

    Raises:
        UnsegError: MLflow refuses, cannot be reached, or another process keeps it for ten minutes.
    """
    quiet_mlflow()
    uri = tracking_uri(root)
    database = _database_of(uri)
    lock = FileLock(f"{database or root.resolve() / DATABASE}.lock")
    try:
        with lock.acquire(timeout=LOCK_SECONDS), _exported(uri):
            yield from _connected(uri, database, experiment)
    except Timeout:
        raise UnsegError(
            f"{lock.lock_file} has been held by another process for {LOCK_SECONDS:.0f} s; end that first"
        ) from None


@contextlib.contextmanager
def _exported(uri: str) -> Iterator[None]:
    """Name the server in the environment too: MLflow's sqlite registry asks that one for the models it registers."""
    before = os.environ.get(URI_VARIABLE)
    os.environ[URI_VARIABLE] = uri
    try:
        yield
    finally:
        if before is None:
            del os.environ[URI_VARIABLE]
        else:
            os.environ[URI_VARIABLE] = before


def _connected(uri: str, database: Path | None, experiment: str) -> Iterator[TrackingStore]:
    if database is not None:
        _check_database(database)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or uri)
        found = _experiment(client, experiment, database)
        yield TrackingStore(client=client, experiment=experiment, experiment_id=found.experiment_id, uri=uri)
    except MlflowException as error:
        raise UnsegError(_explain(error, uri)) from error


def _database_of(uri: str) -> Path | None:
    """The file behind a sqlite URI; None for servers."""
    return Path(uri.removeprefix(SQLITE)).resolve() if uri.startswith(SQLITE) else None


def _check_database(database: Path) -> None:
    """MLflow would try for minutes to open a file that is no database."""
    database.parent.mkdir(parents=True, exist_ok=True)
    if database.is_file() and database.stat().st_size:
        with database.open("rb") as file:
            if file.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
                raise UnsegError(f"{database} is not an sqlite database; delete it, tracking makes it again")


def _experiment(client: MlflowClient, name: str, database: Path | None) -> Experiment:
    location = database.parent / ARTIFACTS if database else None
    found = client.get_experiment_by_name(name) or _create_experiment(client, name, location)
    if found.lifecycle_stage != "active":
        raise UnsegError(
            f"tracking.experiment: MLflow has deleted the experiment {name!r}; "
            f"run `mlflow experiments restore --experiment-id {found.experiment_id}` or choose another name"
        )
    kept = _local_folder(found.artifact_location)
    if location and kept and kept != location:
        raise UnsegError(
            f"{database} keeps the files of experiment {name!r} in {kept}, not in {location}: it came from another "
            "folder; delete it, tracking makes it again"
        )
    return found


def _create_experiment(client: MlflowClient, name: str, location: Path | None) -> Experiment:
    from mlflow.exceptions import MlflowException

    try:
        client.create_experiment(name, artifact_location=location.as_uri() if location else None)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # else: another machine was quicker
            raise
    found = client.get_experiment_by_name(name)
    if found is None:
        raise UnsegError(
            f"tracking.experiment: MLflow does not show the experiment {name!r} that it has made; try again"
        )
    return found


def _local_folder(location: str) -> Path | None:
    parts = urlsplit(location)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


def _explain(error: MlflowException, uri: str) -> str:
    reason = public_url(" ".join(error.message.split()))[:300]
    return (
        f"MLflow at {public_url(uri)}: {reason}; check that the server of {URI_VARIABLE} runs and "
        f"lets you in, or unset it to use {DATABASE} in the project folder"
    )
