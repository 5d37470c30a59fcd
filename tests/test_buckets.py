"""Protecting from and to s3:// on a real server, with answers that fail and connections that break."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_pairs
from flaky_proxy import KINDS, FlakyProxy, run_proxy
from test_protect import settings, tree

from unseg_core import remote_store, storage
from unseg_core.data.layouts import open_layout
from unseg_core.errors import DataError, ParameterError, StorageError
from unseg_core.protect import journal as journal_module
from unseg_core.protect.engine import protect_dataset
from unseg_core.protect.journal import Journal
from unseg_core.protect.methods.uniform import UniformNoise
from unseg_core.protect.verify import verify_copy

BUCKET = "s3://unseg-test"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield running.get_host_and_port()
    running.stop()


@pytest.fixture
def proxy(server: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    """A bucket behind a proxy that does as it is told; the pauses between attempts are shortened."""
    import fsspec

    with run_proxy(FlakyProxy(host=server[0], port=server[1])) as running:
        for name, value in (
            ("AWS_ENDPOINT_URL", running.url),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(remote_store, "LONGEST_PAUSE", 0.1)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        filesystem, _ = remote_store.connect(BUCKET)
        if not filesystem.exists("unseg-test"):
            filesystem.mkdir("unseg-test")
        yield running
        running.share, running.broken = 0.0, ""
        filesystem.rm("unseg-test", recursive=True)
        type(filesystem).clear_instance_cache()


def upload(folder: Path, url: str) -> None:
    for name, data in tree(folder).items():
        storage.write_file(f"{url}/{name}", data)


def contents(url: str) -> dict[str, bytes]:
    return {path: storage.read_file(f"{url}/{path}") for path in storage.list_files(url)}


def protect(source: str, target: str, **options: Any) -> dict[str, Any]:
    return protect_dataset(open_layout("folder", source), UniformNoise(), settings(), target, **options)


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    root = write_pairs(tmp_path / "source", 8, rng)
    (root / "notes" / "deep").mkdir(parents=True)
    (root / "notes" / "a file.txt").write_text("spaces")
    (root / "notes" / "deep" / "license.txt").write_text("keep me")
    return root


def test_every_way_between_folders_and_buckets_gives_the_same_bytes(
    proxy: FlakyProxy, folder: Path, tmp_path: Path
) -> None:
    upload(folder, f"{BUCKET}/source")
    assert list(storage.list_files(f"{BUCKET}/source")) == list(storage.list_files(str(folder)))
    assert list(storage.list_sizes(f"{BUCKET}/source")) == list(storage.list_sizes(str(folder)))
    whole = protect(str(folder), str(tmp_path / "whole"))
    assert protect(f"{BUCKET}/source", f"{BUCKET}/copy", workers=4) == whole
    assert protect(str(folder), f"{BUCKET}/other") == whole
    assert protect(f"{BUCKET}/source", (tmp_path / "local").as_uri()) == whole
    expected = tree(tmp_path / "whole")
    assert contents(f"{BUCKET}/copy") == contents(f"{BUCKET}/other") == tree(tmp_path / "local") == expected
    assert storage.members(f"{BUCKET}/copy") == sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert not verify_copy(f"{BUCKET}/copy", f"{BUCKET}/source").differences
    storage.write_file(f"{BUCKET}/copy/images/photo 01.png", b"changed")
    storage.remove(f"{BUCKET}/copy/notes/a file.txt")
    found = verify_copy(f"{BUCKET}/copy", str(folder)).differences
    assert [text[:16] for text in found] == ["images/photo 01."] * 2 + ["notes/a file.txt"]


def test_targets_on_a_bucket_are_checked_and_replaced_like_folders(proxy: FlakyProxy, folder: Path) -> None:
    protect(str(folder), f"{BUCKET}/copy")
    with pytest.raises(ParameterError, match="--overwrite"):
        protect(str(folder), f"{BUCKET}/copy")
    protect(str(folder), f"{BUCKET}/copy", overwrite=True)
    storage.write_file(f"{BUCKET}/mine/thesis.txt", b"mine")
    with pytest.raises(ParameterError, match="not empty"):
        protect(str(folder), f"{BUCKET}/mine")
    with pytest.raises(ParameterError, match="leaves alone"):
        protect(str(folder), f"{BUCKET}/mine", overwrite=True)
    upload(folder, f"{BUCKET}/source")
    for target in (f"{BUCKET}/source", f"{BUCKET}/source/copy", BUCKET):
        with pytest.raises(ParameterError, match="lie in each other"):
            protect(f"{BUCKET}/source", target)
    with pytest.raises(StorageError, match="make the bucket or folder first"):
        protect(str(folder), "s3://no-such-bucket/copy")
    with pytest.raises(DataError, match=r"absent\.png does not exist"):
        storage.read_file(f"{BUCKET}/absent.png")


@pytest.mark.parametrize("count", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_failing_answers_and_broken_connections_lose_nothing(
    proxy: FlakyProxy, tmp_path: Path, rng: np.random.Generator, count: int
) -> None:
    """Twice as many small files as images, and one request in eight goes wrong."""
    source = write_pairs(tmp_path / "source", count, rng)
    upload(source, f"{BUCKET}/source")
    protect(str(source), str(tmp_path / "whole"))
    proxy.share = 0.12
    protect(f"{BUCKET}/source", f"{BUCKET}/copy", workers=8)
    assert set(proxy.failures) == set(KINDS)
    assert proxy.failures.total() > count // 4
    proxy.share = 0.0
    assert contents(f"{BUCKET}/copy") == tree(tmp_path / "whole")


def test_a_server_that_stays_down_names_the_file_and_the_run_continues(
    proxy: FlakyProxy, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_store, "ATTEMPTS", 3)
    monkeypatch.setattr(journal_module, "PART_IMAGES", 2)
    upload(folder, f"{BUCKET}/source")
    proxy.broken = "images/photo%2006.png"
    with pytest.raises(StorageError, match=r"images/photo 06\.png cannot be \w+ after 3 attempts .*same command"):
        protect(f"{BUCKET}/source", f"{BUCKET}/copy", workers=1)
    assert proxy.failures["500"] == 3
    journal = Journal(f"{BUCKET}/copy")
    assert journal.count() == 6
    assert "manifest.json" not in storage.members(f"{BUCKET}/copy")
    proxy.broken = ""
    puts = proxy.requests["PUT"]
    protect(f"{BUCKET}/source", f"{BUCKET}/copy", workers=1)
    # Two images, a part of the journal for them, and the three files of the manifest.
    assert proxy.requests["PUT"] - puts == 2 + 1 + 3
    protect(str(folder), str(tmp_path / "whole"))
    assert contents(f"{BUCKET}/copy") == tree(tmp_path / "whole")


def test_no_access_is_said_at_once(proxy: FlakyProxy, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="check its scheme"):
        storage.read_file("nonsense://x/y")
    with pytest.raises(DataError, match="leaves the data set"):
        storage.join(f"{BUCKET}/source", "../other/key")


def test_large_files_pass_through_the_disk(proxy: FlakyProxy, tmp_path: Path, rng: np.random.Generator) -> None:
    data = rng.bytes(storage.SMALL + 12_345)
    (tmp_path / "large.bin").write_bytes(data)
    storage.copy_file(str(tmp_path / "large.bin"), f"{BUCKET}/large.bin")
    proxy.share = 0.2
    storage.copy_file(f"{BUCKET}/large.bin", f"{BUCKET}/again.bin")
    storage.copy_file(f"{BUCKET}/again.bin", str(tmp_path / "back.bin"))
    assert (tmp_path / "back.bin").read_bytes() == data
    assert storage.sha256_of(f"{BUCKET}/again.bin") == storage.sha256_of(str(tmp_path / "large.bin"))
