"""Protection on a real Ray cluster of several nodes, one of which is killed in the middle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from conftest import write_pairs
from test_engine import UNIFORM, protect_folder, wait_for
from test_protect import settings, tree

from unseg_core import remote_store, storage
from unseg_core.data.layouts import open_layout
from unseg_core.errors import ParameterError, UnsegError
from unseg_core.protect.engine import protect_with
from unseg_core.protect.execution import Execution, choose_engine
from unseg_core.protect.journal import Journal
from unseg_core.protect.methods import MethodOptions
from unseg_core.protect.pipeline import Parallel
from unseg_core.protect.ray_engine import RayCluster

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """On a real server, known to every node that is started after it."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ):
            patch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        remote_store.connect("s3://unseg-ray")[0].mkdir("unseg-ray")
        yield "s3://unseg-ray"
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    running.stop()


@pytest.fixture(scope="module")
def cluster(bucket: str) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
    running = Cluster(initialize_head=True, head_node_args=small)
    for _ in range(2):
        running.add_node(num_cpus=1, object_store_memory=100_000_000)
    running.wait_for_nodes()
    ray.init(address=running.address, log_to_driver=False)
    yield running
    ray.shutdown()
    running.shutdown()


def engine(cluster: Any) -> RayCluster:
    return RayCluster(recipe=UNIFORM, parallel=Parallel(workers=1), address=cluster.address, span=8)


def test_what_is_wrong_is_said(cluster: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    layout = open_layout("folder", str(write_pairs(tmp_path / "source", 3, rng)))
    lost = replace(
        engine(cluster), recipe=replace(UNIFORM, name="unseg", options=MethodOptions(generator=tmp_path / "absent.st"))
    )
    with pytest.raises(UnsegError, match=r"absent\.st"):
        protect_with(lost, layout, settings(), str(tmp_path / "copy"))
    chosen = choose_engine(UNIFORM, Execution(engine="ray", ray_address=cluster.address, threads=1), "cpu")
    assert isinstance(chosen, RayCluster)


def test_all_nodes_read_and_write_one_bucket(
    cluster: Any, bucket: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    source = write_pairs(tmp_path / "source", 40, rng)
    for name, data in tree(source).items():
        storage.write_file(f"{bucket}/source/{name}", data)
    layout = open_layout("folder", f"{bucket}/source")
    summary = protect_with(engine(cluster), layout, settings(), f"{bucket}/copy")
    assert protect_folder(source, tmp_path / "whole") == summary
    copied = {path: storage.read_file(f"{bucket}/copy/{path}") for path in storage.list_files(f"{bucket}/copy")}
    assert copied == tree(tmp_path / "whole")


def test_a_node_that_dies_costs_only_its_span(cluster: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    source, target = write_pairs(tmp_path / "source", 240, rng, side=300), str(tmp_path / "copy")
    layout = open_layout("folder", str(source))
    nodes = len([node for node in ray.nodes() if node["Alive"]])

    def kill_one() -> None:
        wait_for(lambda: Journal(target).count() >= 20, 600)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    killer = threading.Thread(target=kill_one)
    killer.start()
    summary = protect_with(engine(cluster), layout, settings(), target)
    killer.join()
    wait_for(lambda: len([node for node in ray.nodes() if node["Alive"]]) == nodes - 1)
    assert summary["totals"]["protected"] == 240
    assert protect_folder(source, tmp_path / "whole") == summary
    assert tree(tmp_path / "copy") == tree(tmp_path / "whole")


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    from unseg_core.protect import ray_engine

    ray.shutdown()
    with pytest.raises(ParameterError, match="no Ray cluster at '127"):
        ray_engine._connect("127.0.0.1:9")
