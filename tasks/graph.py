"""The graph of stages as DVC sees it, and which of them may start next."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unseg_core.errors import ParameterError

DEFAULT_POOL = "cpu"
# Two stages at once hide each other's start-up and hashing; more would compete for the two cores this is tuned for.
WORKERS = 2
# Stages of the pool `gpu` each take all cores or a whole GPU: two of them at once are slower, or do not fit.
POOL_LIMITS: Mapping[str, int] = {"gpu": 1}


@dataclass(frozen=True, kw_only=True)
class StageNode:
    """One stage of dvc.yaml."""

    name: str
    """What `dvc repro NAME` takes, for example `evaluate@scenes-clean`."""
    upstream: tuple[str, ...]
    """Names of the stages whose outputs it reads, sorted."""
    pool: str
    """The work pool that it asks for with `meta: {pool: ...}`."""
    metrics: tuple[Path, ...]
    """Its metrics files, relative to the project folder."""
    plots: tuple[Path, ...]
    """Its plots files, relative to the project folder."""


@dataclass(frozen=True, kw_only=True)
class StageGraph:
    """Stages in the order in which `dvc repro` runs them: a stage stands after all of its upstream stages."""

    root: Path
    stages: tuple[StageNode, ...]


def read_graph(root: Path, targets: Iterable[str] = ()) -> StageGraph:
    """Read the stages of the DVC project in `root`; with targets, only those and what they need.

    A target is a stage (`evaluate@scenes-clean`) or a group of stages (`evaluate`).

    Raises:
        ParameterError: there is no DVC project, a target is unknown, or dvc.yaml or params.yaml are not valid.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    root = root.resolve()
    try:
        with Repo(str(root)) as repo:
            graph = get_active_graph(repo.index.graph)
            order = plan_repro(graph, collect_stages(repo, [str(root / "dvc.yaml")]))
            return _selected(StageGraph(root=root, stages=_nodes(root, graph, order)), targets)
    except DvcException as error:
        reason = " ".join(f"{error} {error.__cause__ or ''}".split())
        raise ParameterError(f"{root}: DVC cannot read the stages: {reason}; try `dvc stage list` there") from error


def _selected(graph: StageGraph, targets: Iterable[str]) -> StageGraph:
    nodes = {node.name: node for node in graph.stages}
    queue = [name for target in targets for name in _named_by(target, nodes)]
    if not queue:
        return graph
    wanted: set[str] = set()
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue.extend(nodes[name].upstream)
    return StageGraph(root=graph.root, stages=tuple(node for node in graph.stages if node.name in wanted))


def _named_by(target: str, names: Iterable[str]) -> list[str]:
    found = [name for name in names if name == target or name.startswith(f"{target}@")]
    if not found:
        raise ParameterError(f"dvc.yaml has no stage {target!r}; it has {', '.join(names)}")
    return found


def unchanged_stages(graph: StageGraph) -> frozenset[str]:
    """Return the stages that DVC would skip now; none when it cannot tell, because another DVC is busy.

    One look at all of them is much cheaper than a DVC process for each. What an upstream stage changes later in the
    same run is not seen: a stage may only be left out when its upstream stages were.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    wanted = {node.name for node in graph.stages}
    try:
        with Repo(str(graph.root)) as repo, repo.lock:
            stages = {_address(graph.root, stage): stage for stage in repo.index.stages}
            return frozenset(name for name in wanted if not stages[name].changed())
    except DvcException:
        return frozenset()


def _nodes(root: Path, graph: Any, order: list[Any]) -> tuple[StageNode, ...]:
    # Not `Stage.addressing`: it depends on the current directory.
    names = {stage: _address(root, stage) for stage in order}
    return tuple(
        StageNode(
            name=names[stage],
            upstream=tuple(sorted(names[other] for other in graph.successors(stage))),
            pool=_pool(stage),
            metrics=_outputs(root, stage, "metric"),
            plots=_outputs(root, stage, "plot"),
        )
        for stage in order
    )


def _address(root: Path, stage: Any) -> str:
    file = Path(stage.path).resolve().relative_to(root).as_posix()
    name = getattr(stage, "name", None)
    if name is None:
        return file
    return str(name) if file == "dvc.yaml" else f"{file}:{name}"


def _pool(stage: Any) -> str:
    meta = stage.meta or {}
    return str(meta.get("pool", DEFAULT_POOL)) if isinstance(meta, Mapping) else DEFAULT_POOL


def _outputs(root: Path, stage: Any, kind: str) -> tuple[Path, ...]:
    return tuple(sorted(Path(out.fs_path).resolve().relative_to(root) for out in stage.outs if getattr(out, kind)))


def startable(
    graph: StageGraph, *, running: set[str], finished: set[str], workers: int, pool_limits: Mapping[str, int]
) -> list[StageNode]:
    """Return the stages to start now, in the graph's order.

    A stage may start when all its upstream stages are finished, well or not: whoever runs it decides what a failed
    upstream stage means. Never more than `workers` run at once, nor more of one pool than its limit.
    """
    pools = {node.name: node.pool for node in graph.stages}
    busy = [pools[name] for name in running]
    chosen: list[StageNode] = []
    for node in graph.stages:
        if node.name in running or node.name in finished or not finished.issuperset(node.upstream):
            continue
        if len(busy) < workers and busy.count(node.pool) < pool_limits.get(node.pool, workers):
            busy.append(node.pool)
            chosen.append(node)
    return chosen
