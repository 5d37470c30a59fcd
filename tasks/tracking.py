"""Copies what DVC tracks into MLflow: one run per stage result, made once, whether DVC ran the stage or skipped it."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tasks import entry
from tasks.dvc_results import LOCK_FILE, LockedStage, Point, StageMetrics, read_lock, result_stages, stage_metrics
from tasks.parameters import PARAMS_FILE, load_params
from tasks.register import GENERATOR, find_version, link_training, register_generator
from tasks.tracking_store import GENERATOR_TAG, LIVE_TAG, TrackingStore, open_store
from unseg_core.errors import UnsegError
from unseg_core.model.registry_uri import SHA256_TAG
from unseg_core.params import Params
from unseg_core.remote_file import public_url
from unseg_core.storage import sha256_of

if TYPE_CHECKING:
    from mlflow.entities import Run

KEY_TAG = "stage_key"
"""Tag with the sha256 of a stage's dvc.lock entry: the same result never becomes a second run."""
UNKNOWN = "unknown"
# Limits of one MLflow request: 1000 metrics, 100 parameters.
METRICS_AT_ONCE = 1000
PARAMS_AT_ONCE = 100


@dataclass(frozen=True, kw_only=True)
class TrackingSummary:
    """What a call of `track_project` found and did."""

    experiment: str
    created: tuple[str, ...]
    """Stages that became runs now."""
    already: tuple[str, ...]
    """Stages whose result was there before."""
    pending: tuple[str, ...]
    """Stages of the profile that DVC has not run yet."""
    model_version: str | None
    """Of the generator in the registry; None while there is no generator, or only its metrics are on this machine."""
    tracking_uri: str
    """Without name and password."""


def track_project(root: Path) -> TrackingSummary:
    """Copy every training, protection and evaluation result of `root` into MLflow and register its generator.

    All results are read and checked before anything is written. Runs that were cut off are made again.

    Raises:
        UnsegError: dvc.lock, params.yaml or a result is missing or damaged, or MLflow refuses.
    """
    params = load_params(root / PARAMS_FILE)
    locked = read_lock(root / LOCK_FILE)
    names = result_stages(params)
    stages = [locked[name] for name in names if name in locked]
    with open_store(root, params.tracking.experiment) as store:
        new = [stage for stage in stages if not _is_tracked(store, stage)]
        results = [stage_metrics(root, stage) for stage in new]
        tags = _common_tags(root, params) if results else {}
        for result in results:
            _write_run(store, root, result, tags)
        version = _register(store, root, params, locked, newly_trained="train" in {stage.name for stage in new})
    return TrackingSummary(
        experiment=store.experiment,
        created=tuple(stage.name for stage in new),
        already=tuple(stage.name for stage in stages if stage not in new),
        pending=tuple(name for name in names if name not in locked),
        model_version=version,
        tracking_uri=public_url(store.uri),
    )


def _is_tracked(store: TrackingStore, stage: LockedStage) -> bool:
    """Whether a finished run has this result; runs that were cut off are deleted on the way.

    The one that a training has written is only released, to be taken again: nothing else has its losses by step.
    """
    found = store.client.search_runs([store.experiment_id], f"tags.{KEY_TAG} = '{stage.key}'")
    cut_off = [one for one in found if one.info.status != "FINISHED"]
    for one in cut_off:
        if LIVE_TAG in one.data.tags:
            store.client.delete_tag(one.info.run_id, KEY_TAG)
        else:
            store.client.delete_run(one.info.run_id)
    return len(found) > len(cut_off)


def _write_run(store: TrackingStore, root: Path, result: StageMetrics, tags: Mapping[str, str]) -> None:
    """Make one run. It carries its key from the start and is finished last, so a cut-off one is recognised."""
    stage = result.stage
    own = {"stage": stage.name, KEY_TAG: stage.key, "mlflow.source.name": stage.command, "mlflow.source.type": "JOB"}
    run = _run_for(store, result, {**result.texts, **tags, **own})
    try:
        _log_values(store, run, result)
        _log_files(store, run, root, result)
    except BaseException:
        with contextlib.suppress(Exception):  # the first error is the one to report
            store.client.set_terminated(run.info.run_id, "FAILED")
        raise
    store.client.set_terminated(run.info.run_id, "FINISHED")


def _run_for(store: TrackingStore, result: StageMetrics, tags: Mapping[str, str]) -> Run:
    """A new run; for a training that was followed live, the run that it has written."""
    sha256 = result.texts.get(SHA256_TAG)
    if result.stage.name == "train" and sha256 is not None:
        live = store.client.search_runs([store.experiment_id], f"tags.{GENERATOR_TAG} = '{sha256}'")
        for run in live:
            if KEY_TAG not in run.data.tags:
                store.client.update_run(run.info.run_id, status="RUNNING")
                for name, value in tags.items():
                    store.client.set_tag(run.info.run_id, name, value)
                return run
    return store.client.create_run(store.experiment_id, run_name=result.stage.name, tags=dict(tags))


def _log_values(store: TrackingStore, run: Run, result: StageMetrics) -> None:
    """Parameters, final numbers and curves; where a curve has a number's name, the curve ends in it."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    curves = {point.curve for point in result.curves}
    metrics = [Metric(_metric_name(p.curve), p.value, now, p.epoch) for p in result.curves]
    metrics += [
        Metric(_metric_name(name), value, now, 0) for name, value in result.numbers.items() if name not in curves
    ]
    params = [Param(_metric_name(name), value) for name, value in result.stage.params.items()]
    for start in range(0, len(metrics), METRICS_AT_ONCE):
        store.client.log_batch(run.info.run_id, metrics=metrics[start : start + METRICS_AT_ONCE])
    for start in range(0, len(params), PARAMS_AT_ONCE):
        store.client.log_batch(run.info.run_id, params=params[start : start + PARAMS_AT_ONCE])


def _metric_name(name: str) -> str:
    """A name that MLflow takes: class names may hold other characters."""
    return "".join(c if c.isalnum() or c in "/_-. " else "_" for c in name)


def _log_files(store: TrackingStore, run: Run, root: Path, result: StageMetrics) -> None:
    """Metrics and plots files under their paths in the project, and a picture of the curves beside the latter."""
    for path in map(PurePosixPath, result.files):
        store.client.log_artifact(run.info.run_id, str(root / path), str(path.parent))
        if path.suffix == ".csv" and result.curves:
            with tempfile.TemporaryDirectory() as folder:
                picture = Path(folder, path.name).with_suffix(".png")
                picture.write_bytes(draw_curves(result.curves, title=result.stage.name))
                store.client.log_artifact(run.info.run_id, str(picture), str(path.parent))


def draw_curves(curves: Sequence[Point], *, title: str) -> bytes:
    """A PNG with one panel per measured column and one line per phase or seed."""
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it announces its cache at the first use
    columns = list(dict.fromkeys(point.curve.rsplit("/", 1)[1] for point in curves))
    figure = Figure(figsize=(5 * len(columns), 3.5), layout="constrained")
    figure.suptitle(title)
    for axes, column in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        lines = dict.fromkeys(point.curve for point in curves if point.curve.endswith(f"/{column}"))
        for line in lines:
            points = [point for point in curves if point.curve == line]
            axes.plot([p.epoch for p in points], [p.value for p in points], marker=".", label=line.rsplit("/", 1)[0])
        axes.set(title=column, xlabel="epoch")
        axes.legend()
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


def _common_tags(root: Path, params: Params) -> dict[str, str]:
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
    return {
        "profile": params.profile,
        "dvc_lock_sha256": sha256_of(str(root / LOCK_FILE)),
        "git_commit": commit or UNKNOWN,
        "git_dirty": UNKNOWN if commit is None or changes is None else str(bool(changes)).lower(),
        **({"mlflow.source.git.commit": commit} if commit else {}),
    }


def _git(root: Path, *arguments: str) -> str | None:
    """Output of a git command; None without git, outside a repository or before its first commit."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _register(
    store: TrackingStore, root: Path, params: Params, locked: Mapping[str, LockedStage], *, newly_trained: bool
) -> str | None:
    """Register the generator of the tracked training; the weights may be elsewhere while the metrics are here."""
    if "train" not in locked:
        return None
    sha256 = stage_metrics(root, locked["train"]).texts.get(SHA256_TAG)
    if sha256 is None:
        raise UnsegError(f"{root / 'metrics/train.json'} has no {SHA256_TAG}; run `dvc repro --force train`")
    if not (root / GENERATOR).is_file() and find_version(store, params.tracking.model, sha256) is None:
        return None
    number = register_generator(store, root, params.tracking, sha256)
    if newly_trained:
        link_training(store, sha256)
    return number


def main(arguments: list[str]) -> None:
    """Entry point: `python -m tasks.tracking` in the project folder; one line per run."""
    summary = track_project(Path())
    for word, names in (("created", summary.created), ("there already", summary.already), ("not run", summary.pending)):
        for name in names:
            print(f"{name}: {word}")
    version = f"version {summary.model_version}" if summary.model_version else f"not registered, no {GENERATOR} here"
    print(f"generator: {version}")
    print(f"experiment {summary.experiment} at {summary.tracking_uri}")


if __name__ == "__main__":
    entry.run(main)
