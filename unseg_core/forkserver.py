"""How processes of this machine are started."""

from __future__ import annotations

import multiprocessing
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
