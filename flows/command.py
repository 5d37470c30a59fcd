"""`python -m flows.reproduce`: reads the command line and provides a Prefect server, then runs the flow here.

Uses the Prefect server that is configured (PREFECT_API_URL or the active profile), or an embedded one. Exit codes:
0 all well, 1 a stage or the tracking failed, 2 wrong use, 130 interrupted.
"""

import argparse
import os
import sys
from pathlib import Path

from flows.server import configured_api_url, start_embedded_server
from tasks.graph import WORKERS, read_graph
from unseg_core.errors import ParameterError, UnsegError

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the flow in this process; return the exit code."""
    options = _arguments(arguments)
    try:
        read_graph(Path.cwd(), options.stages)  # wrong use is told before a server is started
        _run_flow(options)
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except UnsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return INTERRUPTED
    return 0


def _run_flow(options: argparse.Namespace) -> None:
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    if configured_api_url() is None:
        print("starting an embedded Prefect server", file=sys.stderr)
        url = start_embedded_server()
        print(f"watch the run at {url.removesuffix('/api')}", file=sys.stderr)
        os.environ["PREFECT_API_URL"] = url

    from flows.reproduce import reproduce  # not before: Prefect reads the environment when it is imported

    limits = dict(options.pool_limit) if options.pool_limit else None
    reproduce(stages=options.stages, workers=options.workers, pool_limits=limits)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m flows.reproduce",
        description="Bring DVC stages, and what they need, up to date; Prefect decides what runs when.",
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="a stage or group in dvc.yaml (default: all)")
    parser.add_argument(
        "--workers", type=_at_least_one, default=WORKERS, metavar="N", help="stages at once (default: %(default)s)"
    )
    parser.add_argument(
        "--pool-limit",
        type=_pool_limit,
        action="append",
        metavar="POOL=N",
        help="stages of one work pool (`meta: {pool: POOL}`) at once; may be repeated (default: gpu=1)",
    )
    return parser.parse_args(arguments)


def _pool_limit(text: str) -> tuple[str, int]:
    pool, _, number = text.partition("=")
    if not pool:
        raise argparse.ArgumentTypeError(f"{text!r} is not POOL=N, for example gpu=1")
    return pool, _at_least_one(number)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)
