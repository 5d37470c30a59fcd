"""`unseg`: the command line, a file for each command. They call the functions that the stage programs call.

Exit codes: 0 all well; 1 finished, but some images failed or a check did not pass; 2 usage or configuration;
130 interrupted (the same command continues). Heavy packages are imported inside the commands, so that help is instant.
"""

from __future__ import annotations

import os

import typer

from unseg_core.cli.audit import audit
from unseg_core.cli.evaluate import evaluate
from unseg_core.cli.layouts import layouts
from unseg_core.cli.masks import masks
from unseg_core.cli.protect import protect
from unseg_core.cli.report import report
from unseg_core.cli.train import train
from unseg_core.cli.verify import verify
from unseg_core.cli.weights import weights

app = typer.Typer(
    help="Make segmentation data sets unlearnable, and check the copies.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
# In the order in which help lists them.
for command in (protect, verify, audit, report, evaluate, masks, weights, train, layouts):
    app.command()(command)


def main() -> None:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as in tasks/__init__.py
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    app()
