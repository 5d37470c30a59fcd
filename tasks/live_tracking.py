"""MLflow while a training runs: losses, speed and memory per step, health, validation and a picture per epoch.

The run is made here and finished by `tasks.tracking`, which copies what DVC tracks into the same run. Training never
fails because MLflow does: what cannot be sent is dropped, with one line on standard error.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.tracking_store import GENERATOR_TAG, LIVE_TAG, TrackingStore, open_store
from unseg_core.errors import UnsegError
from unseg_core.model.fingerprint import generator_sha256
from unseg_core.params import Params
from unseg_core.remote_file import public_url
from unseg_core.storage import write_file
from unseg_core.train.files import GENERATOR_FILE
from unseg_core.train.loop import Observer, StepReport
from unseg_core.train.records import EpochRecord
from unseg_core.train.run import TrainJob

if TYPE_CHECKING:
    from mlflow.entities import Metric

FLUSH_SECONDS = 10.0
QUIET_SECONDS = 300.0
PER_STEP = ("loss", "loss_bce", "loss_dice", "gradient_norm")


@contextlib.contextmanager
def live_run(params: Params, job: TrainJob, inner: Observer) -> Iterator[Observer]:
    """An observer that tells `inner` and MLflow; just `inner` where tracking is off or MLflow cannot be reached."""
    if not (params.tracking.live and job.processes.first):
        yield inner
        return
    try:
        with open_store(Path(), params.tracking.experiment) as store:
            run_id = _open(store, params, job)
    except UnsegError as error:
        print(f"no live tracking: {error}", file=sys.stderr)
        yield inner
        return
    observer, status = LiveRun(store, run_id, inner), "FAILED"
    try:
        yield observer
        observer.tag(GENERATOR_TAG, generator_sha256(job.output / GENERATOR_FILE))
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        observer.close(status)


def _open(store: TrackingStore, params: Params, job: TrainJob) -> str:
    """The run of this work folder; made unless there is one."""
    own = f"tags.{LIVE_TAG} = '{job.work.name}'"
    found = store.client.search_runs([store.experiment_id], own, max_results=1)
    if found:
        store.client.update_run(found[0].info.run_id, status="RUNNING")
        return str(found[0].info.run_id)
    tags = {"stage": "train", "profile": params.profile, LIVE_TAG: job.work.name}
    return str(store.client.create_run(store.experiment_id, run_name="train", tags=tags).info.run_id)


class LiveRun:
    """An observer that writes to an MLflow run."""

    def __init__(self, store: TrackingStore, run_id: str, inner: Observer) -> None:
        self.store = store
        self.run_id = run_id
        self.inner = inner
        self.metrics: list[Metric] = []
        self.sent = time.monotonic()
        self.quiet_until = 0.0

    def step(self, report: StepReport) -> None:
        """One point per step; a step that is run again after a restart gives the same point once more."""
        values = {f"step/{report.phase}/{name}": getattr(report, name) for name in PER_STEP}
        values["step/images_per_second"] = report.images_per_second
        values["step/learning_rate"] = report.learning_rate
        if report.memory_mb:
            values["step/memory_mb"] = report.memory_mb
        self._add(values, report.step)
        if time.monotonic() - self.sent > FLUSH_SECONDS:
            self.flush()
        self.inner.step(report)

    def epoch(self, record: EpochRecord, panel_png: bytes) -> None:
        values = {f"health/{name}": float(value) for name, value in asdict(record.health).items()}
        values["skipped"] = float(record.skipped)
        for name, scores in record.validation.items():
            numbers = {key: value for key, value in asdict(scores).items() if isinstance(value, float)}
            values |= {f"validation/{name.replace(':', '/')}/{key}": value for key, value in numbers.items()}
        self._add(values, record.epoch)
        self.flush()
        self._try(lambda: self._log_panel(record.epoch, panel_png))
        self.inner.epoch(record, panel_png)

    def flush(self) -> None:
        """Send what has been collected."""
        metrics, self.metrics = self.metrics, []
        self.sent = time.monotonic()
        for start in range(0, len(metrics), 1000):
            part = metrics[start : start + 1000]
            self._try(partial(self.store.client.log_batch, self.run_id, metrics=part))

    def close(self, status: str) -> None:
        self.flush()
        self._try(lambda: self.store.client.set_terminated(self.run_id, status))

    def tag(self, name: str, value: str) -> None:
        self._try(lambda: self.store.client.set_tag(self.run_id, name, value))

    def _add(self, values: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.metrics += [Metric(name, value, now, step) for name, value in values.items()]

    def _log_panel(self, epoch: int, panel_png: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"epoch-{epoch:03d}.png")
            write_file(str(path), panel_png)
            self.store.client.log_artifact(self.run_id, str(path), "panels")

    def _try(self, send: Callable[[], object]) -> None:
        """Send, or drop it and leave a server that does not answer alone for a while: each attempt takes minutes."""
        if time.monotonic() < self.quiet_until:
            return
        try:
            send()
        except Exception as error:  # whatever a server, a database or a network may come up with
            self.quiet_until = time.monotonic() + QUIET_SECONDS
            reason = public_url(" ".join(str(error).split()))[:300]
            print(f"live tracking pauses for {QUIET_SECONDS:.0f} s, training goes on: {reason}", file=sys.stderr)
