"""A run in a process of its own that can be killed; a server that has imported everything forks them in no time."""

from __future__ import annotations

import multiprocessing
from multiprocessing.process import BaseProcess

from unseg_core.data.layouts import open_layout
from unseg_core.params import DatasetParams, ProtectParams
from unseg_core.protect.engine import protect_dataset
from unseg_core.protect.manifest import Settings
from unseg_core.protect.methods.uniform import UniformNoise


def run(source: str, target: str, workers: int) -> None:
    settings = Settings.of(
        DatasetParams(classes=("object",)), ProtectParams(), method="uniform", generator_sha256=None, precision="fp32"
    )
    protect_dataset(open_layout("folder", source), UniformNoise(), settings, target, workers=workers)


def start_run(source: str, target: str, workers: int) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["unseg_core.protect.engine", "unseg_core.data.layouts"])
    process = context.Process(target=run, args=(source, target, workers))
    process.start()
    return process
