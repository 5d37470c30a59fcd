"""The stage graph as DVC has it, which stages may start, and the order of dvc.lock."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_fixtures import DIAMOND, dvc, make_dvc_project

from tasks.graph import StageGraph, StageNode, read_graph, startable, unchanged_stages
from tasks.lockfile import locked_stages, order_lock
from tasks.summary import flatten, summary_rows
from unseg_core.errors import ParameterError


@pytest.fixture(scope="module")
def diamond(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dvc_project(tmp_path_factory.mktemp("graph") / "diamond", DIAMOND)


def test_graph_is_the_one_of_dvc(diamond: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names must not depend on the current directory
    graph = read_graph(diamond)
    nodes = {node.name: node for node in graph.stages}
    assert {name: node.upstream for name, node in nodes.items()} == {
        "top": (),
        "each@slow": ("top",),
        "each@quick": ("top",),
        "bottom": ("each@quick", "each@slow"),
    }
    assert {name: node.pool for name, node in nodes.items()} == {
        "top": "cpu",
        "each@slow": "cpu",
        "each@quick": "cpu",
        "bottom": "gpu",
    }
    assert nodes["bottom"].metrics == (Path("bottom.json"),)
    assert nodes["bottom"].plots == (Path("bottom-plot.json"),)
    assert nodes["top"].metrics == ()


def test_target_brings_what_it_needs_and_nothing_else(diamond: Path) -> None:
    assert [node.name for node in read_graph(diamond, ["each@slow"]).stages] == ["top", "each@slow"]


def test_group_stands_for_all_its_stages(diamond: Path) -> None:
    assert {node.name for node in read_graph(diamond, ["each"]).stages} == {"top", "each@slow", "each@quick"}


def test_unknown_target_is_told_with_what_there_is(diamond: Path) -> None:
    with pytest.raises(ParameterError, match=r"no stage 'eac'; it has top, each@"):
        read_graph(diamond, ["eac"])


def test_folder_without_dvc_is_told(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="DVC cannot read the stages"):
        read_graph(tmp_path)


def test_broken_dvc_yaml_is_told(diamond: Path) -> None:
    text = (diamond / "dvc.yaml").read_text()
    try:
        (diamond / "dvc.yaml").write_text("stages: [1]")
        with pytest.raises(ParameterError, match=r"dvc\.yaml"):
            read_graph(diamond)
    finally:
        (diamond / "dvc.yaml").write_text(text)


def test_unchanged_stages_are_those_that_dvc_would_skip(tmp_path: Path) -> None:
    root = make_dvc_project(tmp_path / "project", DIAMOND.replace("1.5", "0"))
    graph = read_graph(root)
    assert unchanged_stages(graph) == frozenset()
    dvc(root, "repro")
    assert unchanged_stages(graph) == {"top", "each@slow", "each@quick", "bottom"}
    (root / "slow.json").write_text("changed by hand")
    assert unchanged_stages(graph) == {"top", "each@quick"}


def test_order_of_graph_and_lock_is_the_one_of_dvc_repro(tmp_path: Path) -> None:
    root = make_dvc_project(tmp_path / "project", DIAMOND.replace("1.5", "0"))
    plan = [node.name for node in read_graph(root).stages]
    assert re.findall(r"^Running stage '(.+)':$", dvc(root, "repro"), re.MULTILINE) == plan
    wanted = (root / "dvc.lock").read_bytes()
    order_lock(root, before=["bottom", "each@slow", "gone"], plan=plan)
    assert locked_stages(root) == ("bottom", "each@slow", "top", "each@quick")
    order_lock(root, before=[], plan=plan)
    assert (root / "dvc.lock").read_bytes() == wanted


def test_lock_that_does_not_exist_has_no_stages(diamond: Path) -> None:
    assert locked_stages(diamond) == ()
    order_lock(diamond, before=[], plan=["top"])
    assert not (diamond / "dvc.lock").exists()


def _graph(edges: dict[int, list[int]], pools: list[str]) -> StageGraph:
    stages = tuple(
        StageNode(name=str(n), upstream=tuple(map(str, edges[n])), pool=pools[n], metrics=(), plots=())
        for n in sorted(edges)
    )
    return StageGraph(root=Path(), stages=stages)


@given(data=st.data())
def test_every_graph_runs_to_its_end_within_the_limits(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    edges = {n: data.draw(st.lists(st.integers(0, n - 1), unique=True)) if n else [] for n in range(count)}
    pools = data.draw(st.lists(st.sampled_from(["cpu", "gpu"]), min_size=count, max_size=count))
    workers, gpu_limit = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 2))
    graph = _graph(edges, pools)
    running: set[str] = set()
    finished: set[str] = set()
    while len(finished) < count:
        for node in startable(
            graph, running=running, finished=finished, workers=workers, pool_limits={"gpu": gpu_limit}
        ):
            assert finished.issuperset(node.upstream)
            assert node.name not in running | finished
            running.add(node.name)
        assert 1 <= len(running) <= workers
        assert sum(pools[int(name)] == "gpu" for name in running) <= gpu_limit
        ended = data.draw(st.sampled_from(sorted(running)))
        running.remove(ended)
        finished.add(ended)


def test_full_pool_does_not_hold_back_the_other() -> None:
    graph = _graph({0: [], 1: [], 2: []}, ["gpu", "gpu", "cpu"])
    chosen = startable(graph, running=set(), finished=set(), workers=2, pool_limits={"gpu": 1})
    assert [node.name for node in chosen] == ["0", "2"]


def test_metrics_are_flattened_to_names_with_dots() -> None:
    value = {"iou": {"mean": 0.5, "seeds": [0.4, 0.6]}, "bad": float("nan"), "run": "clean", "none": None}
    assert dict(flatten(value)) == {
        "iou.mean": 0.5,
        "iou.seeds.0": 0.4,
        "iou.seeds.1": 0.6,
        "bad": "nan",
        "run": "clean",
        "none": None,
    }


def test_summary_has_no_metrics_of_a_stage_that_failed(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"loss": 1}')
    names = ("good", "bad", "left")
    stages = tuple(StageNode(name=name, upstream=(), pool="cpu", metrics=(Path("m.json"),), plots=()) for name in names)
    rows = summary_rows(StageGraph(root=tmp_path, stages=stages), {"good": "cached", "bad": "failed"})
    assert rows == [
        {"stage": "good", "result": "cached", "metric": "loss", "value": 1},
        {"stage": "bad", "result": "failed", "metric": "", "value": ""},
        {"stage": "left", "result": "not run", "metric": "", "value": ""},
    ]
