"""A small process that runs one command and lets nothing of it outlive its starter.

    python supervisor.py GRACE_SECONDS COMMAND [ARGUMENT...]

Standard input is the life line: when it closes, because the starter closed it or was killed (also by SIGKILL), or when
a signal asks to stop, every process of the command is stopped: SIGINT first, so that programs save their work and DVC
releases its locks, then SIGTERM, then SIGKILL. Whatever the command leaves behind when it ends is stopped as well.
The exit code is the command's, 128 + N when signal N ended it, and 130 when it was stopped.

The command's processes are found by process group and by a mark in their environment, which also finds those that
moved to a session of their own. Needs only psutil; imports nothing of this project, to start fast.
"""

import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import psutil

FAMILY = "UNSEG_FAMILY"
STOPPED = 130
NOT_FOUND = 127
_POLL_SECONDS = 0.1
_WAKING_SIGNALS = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def family_members(mark: str, group: int | None) -> Iterator[psutil.Process]:
    """Yield the living processes that carry the mark or belong to the process group, without this one."""
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            in_group = group is not None and os.getpgid(process.pid) == group
            if in_group or process.environ().get(FAMILY) == mark:
                yield process
        except (psutil.Error, OSError):
            continue  # it has ended meanwhile, or belongs to somebody else


def stop_family(mark: str, group: int | None, grace_seconds: float) -> None:
    """Stop all members: SIGINT, after the grace time SIGTERM, after half of it SIGKILL. Returns when none is left."""
    steps = ((signal.SIGINT, grace_seconds), (signal.SIGTERM, grace_seconds / 2), (signal.SIGKILL, 10.0))
    for number, seconds in steps:
        end = time.monotonic() + seconds
        _signal_all(mark, group, number)
        while list(family_members(mark, group)):
            if time.monotonic() > end:
                break
            time.sleep(_POLL_SECONDS)
            if number == signal.SIGKILL:  # one that was being forked while the others were killed
                _signal_all(mark, group, number)
        else:
            return


def _signal_all(mark: str, group: int | None, number: signal.Signals) -> None:
    for process in family_members(mark, group):
        try:
            process.send_signal(number)
        except psutil.Error:
            continue


def supervise(command: list[str], grace_seconds: float) -> int:
    """Run the command until it ends or the life line closes; return the exit code described above."""
    wake = _wake_on_signals()
    mark = uuid.uuid4().hex
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, env={**os.environ, FAMILY: mark}
        )
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND
    stopped = _wait(child, wake)
    # DVC killed alone (out of memory, say) leaves its stage running: the family goes with its head in every case.
    # Once a head that ended by itself is reaped, its number may already be another group's.
    stop_family(mark, child.pid if stopped else None, grace_seconds)
    code = child.wait()
    if stopped:
        return STOPPED
    return code if code >= 0 else 128 - code


def _wake_on_signals() -> int:
    """Return a file descriptor on which every waking signal arrives as one byte."""
    wake, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in _WAKING_SIGNALS:
        signal.signal(number, _keep)  # a handler, not SIG_IGN: an ignored signal stays ignored in the command
    return wake


def _keep(_number: int, _frame: object) -> None:
    """The byte in the wake-up pipe is the message."""


def _wait(child: "subprocess.Popen[bytes]", wake: int) -> bool:
    """Wait for the command's end (False) or for a reason to stop it (True)."""
    while child.poll() is None:
        readable, _, _ = select.select([0, wake], [], [])
        if 0 in readable and not os.read(0, 1):
            return True
        if wake in readable and set(os.read(wake, 64)) - {signal.SIGCHLD}:
            return True
    return False


def main(arguments: list[str]) -> int:
    """Entry point; see the module's first lines."""
    return supervise(arguments[1:], float(arguments[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
