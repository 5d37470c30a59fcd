"""Running one DVC stage, or any other program, as a process that cannot outlive this one."""

import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Literal

from tasks import supervisor
from unseg_core.errors import UnsegError

StageResult = Literal["ran", "skipped", "cached"]

# SIGINT, 10 s, SIGTERM, 5 s, SIGKILL: less than the 30 s after which a Prefect worker kills the flow itself.
GRACE_SECONDS = 10.0
_LAST_LINES = 15
_QUIET = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",  # without it a stage's lines arrive when it ends
}
# Locks held by another DVC, and the network between DVC and its remote. Only DVC's own errors are compared with these.
_TRANSIENT = re.compile(
    r"unable to acquire lock|is busy, it is being blocked by|unable to read rwlock"
    r"|timed? ?out|connection (?:refused|reset|error|aborted)|(?:could not|failed to|cannot) connect|name resolution"
    r"|max retries exceeded|service unavailable|too many requests|slow ?down|network is unreachable",
    re.IGNORECASE,
)
_STAGE_FAILED = re.compile(r"failed to run: |exited with -?\d+")


class StageError(UnsegError):
    """A stage failed; running it again unchanged would fail again."""


class TransientStageError(StageError):
    """DVC could not run a stage because of a lock or the network; trying again may help."""


class StageStoppedError(StageError):
    """A program was stopped before its end, because its flow was."""


def child_environment() -> dict[str, str]:
    """Return the environment for programs of this project: quiet, and with this Python's programs first on PATH."""
    environment = {**_QUIET, **os.environ}
    environment.pop(supervisor.FAMILY, None)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return environment


class ProcessFamily:
    """The programs that one flow run has running; they are stopped together, or when this process dies."""

    def __init__(self, grace_seconds: float = GRACE_SECONDS) -> None:
        self._grace_seconds = grace_seconds
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(
        self, command: Iterable[str], *, root: Path, on_line: Callable[[str], None], output: IO[bytes] | None = None
    ) -> int:
        """Run a command in `root` and return its exit code, or 128 + N when signal N ended it.

        Every line that it prints goes to `on_line`, without its end. With `output`, standard output goes there
        instead and only standard error is passed on.

        Raises:
            StageStoppedError: `stop` was called before or while it ran.
        """
        process = self._start(command, root, output)
        stream = process.stdout if output is None else process.stderr
        assert stream is not None
        try:
            for line in stream:
                on_line(line.rstrip("\n"))
        except BaseException:
            self._close_life_line(process)
            deque(stream, maxlen=0)  # read on: it must not die of a closed pipe while it puts its work in order
            raise
        finally:
            stream.close()
            code = self._finish(process)
        if self._stopped and code == supervisor.STOPPED:
            raise StageStoppedError("stopped while it ran")
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        """Stop all running programs and start no more. Returns at once; `run` returns when its program is gone."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                self._close_life_line(process)

    def _start(self, command: Iterable[str], root: Path, output: IO[bytes] | None) -> "subprocess.Popen[str]":
        with self._lock:
            if self._stopped:
                raise StageStoppedError("stopped before it was started")
            process = subprocess.Popen(
                # -P: the folder of supervisor.py must not come before the standard library
                [sys.executable, "-P", supervisor.__file__, str(self._grace_seconds), *command],
                cwd=root,
                env=child_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if output is None else output,
                stderr=subprocess.STDOUT if output is None else subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C reaches it through us, once, after we have taken note
            )
            self._running.add(process)
            return process

    def _finish(self, process: "subprocess.Popen[str]") -> int:
        code = process.wait()
        with self._lock:
            self._running.discard(process)
        self._close_life_line(process)
        return code

    @staticmethod
    def _close_life_line(process: "subprocess.Popen[str]") -> None:
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()


def run_stage(name: str, *, root: Path, family: ProcessFamily, on_line: Callable[[str], None]) -> StageResult:
    """Bring one stage of `root`'s dvc.yaml up to date; its upstream stages must be.

    Returns what DVC did: "ran" the command, "skipped" an unchanged stage, or restored its "cached" outputs.

    Raises:
        TransientStageError: a lock or the network stood in the way.
        StageError: the stage failed; the message ends with its last lines.
        StageStoppedError: the family was stopped.
    """
    result: StageResult = "ran"
    last: deque[str] = deque(maxlen=_LAST_LINES)

    def take(line: str) -> None:
        nonlocal result
        if line.strip():
            result = _result_of(line, name) or result
            last.append(line)
            on_line(line)

    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", name]
    code = family.run(command, root=root, on_line=take)
    if code != 0:
        raise _stage_error(name, code, list(last))
    return result


def _result_of(line: str, name: str) -> StageResult | None:
    """Read DVC's announcement that it does not run a stage; None for every other line."""
    if line in (f"Stage '{name}' didn't change, skipping", f"'{name}' didn't change, skipping"):
        return "skipped"
    return "cached" if line.startswith(f"Stage '{name}' is cached - skipping run") else None


def _stage_error(name: str, code: int, last: list[str]) -> StageError:
    errors = [line for line in last if line.startswith("ERROR:")]
    transient = any(map(_TRANSIENT.search, errors)) and not any(map(_STAGE_FAILED.search, errors))
    said = "\n".join(last)
    if transient:
        return TransientStageError(f"DVC could not run stage {name!r} now (exit code {code}):\n{said}")
    return StageError(f"stage {name!r} failed (exit code {code}); its last lines:\n{said}")
