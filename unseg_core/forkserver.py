"""How processes of this machine are started."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.context import ForkServerContext, SpawnContext


def start_method(*modules: str) -> ForkServerContext | SpawnContext:
    """A server that imports these modules once and forks, where the system has it: torch alone takes seconds.

    Never a fork of this process, which may have threads or use CUDA.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    return context


def end_with_parent() -> None:
    """For a process that was started so: Ctrl-C is left to the one that started it, and when that one is gone, however
    it ended, so is this one. The server alone lives on as long as its processes do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
