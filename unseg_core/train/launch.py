"""Starting a run in several processes of this machine by `torchrun`, which restarts all of them when one is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

import torch

RESTARTS = 3
INTERRUPTED = 130
FRESH_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Without it torchrun keeps the addresses of processes that are gone, and those started again wait for them."""


def processes_wanted(setting: int) -> int:
    """`runtime.processes`, with 0 as the number of GPUs."""
    return setting or max(1, torch.cuda.device_count())


def launch(module: str, arguments: Sequence[str], count: int) -> int:
    """Run `python -m module` in `count` processes that find each other; returns its exit code.

    A signal to stop is handed on; the processes write a checkpoint first.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={count}", f"--max-restarts={RESTARTS}", "-m", module, *arguments]
    child = subprocess.Popen(command, env={**os.environ, **FRESH_STORE})
    stopped = False

    def hand_on(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        child.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return INTERRUPTED if stopped else code
