"""Bring the whole graph of DVC stages up to date, with Prefect deciding what runs when.

python -m flows.reproduce [--workers N] [--pool-limit POOL=N] [STAGE ...]      (see flows/command.py)
"""

import sys

if __name__ == "__main__":  # before Prefect is imported, because that is when Prefect looks for its server
    from flows.command import main

    sys.exit(main())

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from tasks.graph import POOL_LIMITS, WORKERS, StageGraph, StageNode, read_graph, startable, unchanged_stages
from tasks.lockfile import locked_stages, order_lock
from tasks.stage import ProcessFamily, StageError, StageResult, TransientStageError, run_stage
from tasks.summary import FAILED, NOT_RUN, summary_rows

ARTIFACT_KEY = "unseg-metrics"
PositiveInt = Annotated[int, Field(ge=1)]


def _may_pass(_task: Any, _run: Any, state: State[Any]) -> bool:
    try:
        state.result()
    except TransientStageError:
        return True
    except Exception:
        return False
    return False


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=3,
    retry_delay_seconds=[5, 20, 60],
    retry_condition_fn=_may_pass,
)
def stage(name: str, root: Path, family: ProcessFamily, skip: bool = False) -> StageResult:
    """Run one DVC stage, unless it is known to be unchanged; its lines go to the log of this task run.

    Only locks and the network are tried again.
    """
    logger = get_run_logger()
    if skip:
        logger.info("stage %s: unchanged", name)
        return "skipped"
    result = run_stage(name, root=root, family=family, on_line=lambda line: logger.log(_level(line), "%s", line))
    logger.info("stage %s: %s", name, result)
    return result


def _level(line: str) -> int:
    return {"ERROR:": logging.ERROR, "WARNING:": logging.WARNING}.get(line.partition(" ")[0], logging.INFO)


@task(cache_policy=NO_CACHE, persist_result=False)
def track(root: Path) -> None:
    """Copy what the stages wrote to MLflow, whether DVC ran or skipped them."""
    from tasks.tracking import track_project

    get_run_logger().info("%s", track_project(root))


# How many run at once is decided by `startable`: in a full pool a stage would hold a thread while it waits for others.
_TASK_RUNNER: Any = ThreadPoolTaskRunner()  # Any: its type is not the one that `flow` declares


@flow(persist_result=False, task_runner=_TASK_RUNNER)
def reproduce(
    stages: list[str] | None = None, workers: PositiveInt = WORKERS, pool_limits: dict[str, PositiveInt] | None = None
) -> dict[str, str]:
    """Bring stages of the DVC project in the current directory, and what they need, up to date.

    Args:
        stages: stages or groups of stages as in dvc.yaml; all when left out.
        workers: how many stages may run at once.
        pool_limits: how many stages of a work pool (`meta: {pool: ...}`) may run at once; {"gpu": 1} when left out.

    Returns:
        What became of each stage: "ran", "skipped", or "cached".

    Raises:
        ParameterError: DVC cannot read the stages, or a stage is unknown.
        StageError: a stage failed; stages that need it were not run, the others were.
    """
    graph = read_graph(Path.cwd(), stages or [])
    limits = dict(POOL_LIMITS) if pool_limits is None else dict(pool_limits)
    states = _GraphRun(graph, workers, limits).run()
    results = {name: _result(state) for name, state in states.items()}
    _show(graph, results)
    tracking = track(graph.root, return_state=True)
    _raise_failures(states, tracking)
    return results


class _GraphRun:
    """One run of a graph: what is submitted, what has ended."""

    def __init__(self, graph: StageGraph, workers: int, pool_limits: Mapping[str, int]) -> None:
        self.graph = graph
        self.workers = workers
        self.pool_limits = pool_limits
        self.family = ProcessFamily()
        self.unchanged = unchanged_stages(graph)
        self.futures: dict[str, PrefectFuture[Any]] = {}
        self.states: dict[str, State[Any]] = {}

    def run(self) -> dict[str, State[Any]]:
        """Run every stage once its upstream stages have ended; return the final state of each."""
        before = locked_stages(self.graph.root)
        interrupted = True
        try:
            self._submit_all()
            interrupted = False
        finally:
            self.family.stop()
            for future in self.futures.values():
                future.wait()
            plan = [node.name for node in self.graph.stages]
            order_lock(self.graph.root, before=before, plan=plan, wait=not interrupted)
        return self.states

    def _submit_all(self) -> None:
        ended: SimpleQueue[str] = SimpleQueue()
        while len(self.states) < len(self.graph.stages):
            for node in startable(
                self.graph,
                running=self.futures.keys() - self.states.keys(),
                finished=set(self.states),
                workers=self.workers,
                pool_limits=self.pool_limits,
            ):
                self.futures[node.name] = self._submit(node)
                self.futures[node.name].add_done_callback(_put(ended, node.name))
            name = ended.get()
            self.futures[name].wait()
            self.states[name] = self.futures[name].state

    def _submit(self, node: StageNode) -> PrefectFuture[Any]:
        skip = node.name in self.unchanged and all(_result(self.states[name]) == "skipped" for name in node.upstream)
        # Upstream has ended: `wait_for` draws the edge, and keeps the stage from running when upstream failed.
        return stage.with_options(name=node.name, task_run_name=node.name).submit(
            node.name,
            self.graph.root,
            self.family,
            skip,
            wait_for=[self.futures[name] for name in node.upstream],
            return_state=False,
        )


def _put(queue: SimpleQueue[str], name: str) -> Callable[[PrefectFuture[Any]], None]:
    return lambda _future: queue.put(name)


def _result(state: State[Any]) -> str:
    if state.is_completed():
        return str(state.result())
    return NOT_RUN if state.is_pending() else FAILED


def _show(graph: StageGraph, results: Mapping[str, str]) -> None:
    counts = ", ".join(f"{count} {result}" for result, count in sorted(Counter(results.values()).items()))
    get_run_logger().info("stages: %s", counts)
    create_table_artifact(key=ARTIFACT_KEY, table=summary_rows(graph, results), description=f"Stages: {counts}.")


def _raise_failures(states: Mapping[str, State[Any]], tracking: State[Any]) -> None:
    failed = [name for name, state in states.items() if _result(state) == FAILED]
    reasons = [str(states[name].result(raise_on_failure=False)) for name in failed]
    if not tracking.is_completed():
        reasons.append(f"the results could not be copied to MLflow: {tracking.result(raise_on_failure=False)}")
    if reasons:
        left_out = [name for name, state in states.items() if _result(state) == NOT_RUN]
        reasons += [f"not run because of that: {', '.join(left_out)}"] if left_out else []
        raise StageError("\n".join(reasons))
