"""Downloads from real servers: HTTP with and without ranges, connections that break, S3, local files."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer, serve

from unseg_core.download import BLOCK, download, is_digest
from unseg_core.errors import DataError
from unseg_core.remote_file import public_url

LARGE = np.random.Generator(np.random.PCG64(1)).bytes(2 * BLOCK + 12_345)
LIMIT = 10**9


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(FileServer(files={"folder/large.bin": LARGE, "small.bin": b"small", "empty.bin": b""})) as running:
        yield running


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith((".part", ".part.json")))


def test_a_file_of_several_blocks_arrives_and_is_not_asked_for_again(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "new" / "large.bin"
    for digest in (f"sha256:{sha256(LARGE)}", f"sha256:{sha256(LARGE)[:8]}", f"md5:{hashlib.md5(LARGE).hexdigest()}"):
        assert download(f"{server.url}/folder/large.bin", target, digest=digest, max_bytes=LIMIT) == sha256(LARGE)
    assert target.read_bytes() == LARGE
    assert len(server.requests) == len(server.gets()) + 2 == 5  # the file's and its opening's HEAD, three blocks
    assert not leftovers(target.parent)


def test_small_and_empty_files_and_servers_that_say_no_length(server: FileServer, tmp_path: Path) -> None:
    for name, data in (("small.bin", b"small"), ("empty.bin", b"")):
        assert download(f"{server.url}/{name}", tmp_path / name, digest=None, max_bytes=5) == sha256(data)
    server.chunked = True
    target = tmp_path / "chunked.bin"
    assert download(f"{server.url}/folder/large.bin", target, digest=None, max_bytes=LIMIT) == sha256(LARGE)
    with pytest.raises(DataError, match="more than the 1000 bytes"):
        download(f"{server.url}/folder/large.bin", tmp_path / "more.bin", digest=None, max_bytes=1000)


def test_broken_connections_are_continued_where_they_broke(server: FileServer, tmp_path: Path) -> None:
    server.break_after = [BLOCK, 1000]
    target = tmp_path / "large.bin"
    assert download(f"{server.url}/folder/large.bin", target, digest=None, max_bytes=LIMIT) == sha256(LARGE)
    starts = [asked.removeprefix("bytes=").split("-")[0] for asked in server.gets() if asked]
    assert starts.count("0") == 1
    assert starts[1:3] == [str(BLOCK)] * 2
    server.statuses = [503, 503]  # of the HEAD and of the GET that is tried instead
    assert download(f"{server.url}/small.bin", tmp_path / "small.bin", digest=None, max_bytes=LIMIT) == sha256(b"small")


def test_the_next_call_continues(server: FileServer, tmp_path: Path) -> None:
    target, url = tmp_path / "large.bin", f"{server.url}/folder/large.bin"
    interrupt(server, url, target)
    assert leftovers(tmp_path) == [".unseg-large.bin.part", ".unseg-large.bin.part.json"]
    assert not target.exists()
    server.requests.clear()
    assert download(url, target, digest=None, max_bytes=LIMIT) == sha256(LARGE)
    assert all(asked and not asked.startswith("bytes=0-") for asked in server.gets())
    assert not leftovers(tmp_path)


def interrupt(server: FileServer, url: str, target: Path) -> None:
    server.break_after = [BLOCK, 0, 0, 0, 0]
    with pytest.raises(DataError, match="the same command continues"):
        download(url, target, digest=None, max_bytes=LIMIT, attempts=2)
    server.break_after.clear()


def test_another_version_of_the_file_starts_again(server: FileServer, tmp_path: Path) -> None:
    target, url = tmp_path / "large.bin", f"{server.url}/folder/large.bin"
    interrupt(server, url, target)
    other = bytes(reversed(LARGE))
    server.files["folder/large.bin"], server.etag = other, '"2"'
    assert download(url, target, digest=None, max_bytes=LIMIT) == sha256(other)


def test_without_a_digest_only_an_unchanged_file_is_kept(server: FileServer, tmp_path: Path) -> None:
    target, url = tmp_path / "small.bin", f"{server.url}/small.bin"
    for _ in range(2):
        download(url, target, digest=None, max_bytes=LIMIT)
    assert len(server.gets()) == 1
    server.files["small.bin"], server.etag = b"other", '"2"'
    assert download(url, target, digest=None, max_bytes=LIMIT) == sha256(b"other")
    server.files["small.bin"], server.etag = b"third", ""
    for _ in range(2):
        assert download(url, target, digest=None, max_bytes=LIMIT) == sha256(b"third")
    assert len(server.gets()) == 4
    assert not leftovers(tmp_path)


def test_a_server_without_ranges_sends_it_from_the_start(server: FileServer, tmp_path: Path) -> None:
    server.ranges = False
    server.break_after = [len(LARGE), len(LARGE), BLOCK + 5]
    target = tmp_path / "large.bin"
    assert download(f"{server.url}/folder/large.bin", target, digest=None, max_bytes=LIMIT) == sha256(LARGE)
    server.break_after = [100] * 9
    with pytest.raises(DataError, match="keeps breaking"):
        download(f"{server.url}/folder/large.bin", tmp_path / "b.bin", digest=None, max_bytes=LIMIT, attempts=2)


def test_a_wrong_file_is_removed_and_named(server: FileServer, tmp_path: Path) -> None:
    server.url = server.url.replace("://", "://me:secret@")
    url = f"{server.url}/small.bin?signature=secret"
    with pytest.raises(DataError, match=r"instead of sha256:0123456") as caught:
        download(url, tmp_path / "a.bin", digest="sha256:0123456", max_bytes=LIMIT)
    assert sha256(b"small") in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "a.bin").exists()
    assert ".unseg-a.bin.part" not in leftovers(tmp_path)
    (tmp_path / "a.bin").write_bytes(b"an old one")
    digest = f"sha256:{sha256(b'small')}"
    assert download(url, tmp_path / "a.bin", digest=digest, max_bytes=LIMIT) == sha256(b"small")


def test_what_cannot_be_fetched_says_why(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "x.bin"
    for url, message in (
        (f"{server.url}/absent.bin", "absent.bin cannot be read"),
        (f"{server.url}/folder/large.bin", "at most 1000 are expected"),
        ("nonsense://x/y", "check its scheme"),
        (str(tmp_path / "absent"), "absent cannot be read"),
        (str(tmp_path), "is a folder"),
    ):
        with pytest.raises(DataError, match=message):
            download(url, target, digest=None, max_bytes=1000)
    server.statuses = [403, 403]
    with pytest.raises(DataError, match="403"):
        download(f"{server.url}/small.bin", target, digest=None, max_bytes=1000)
    with pytest.raises(DataError, match="keeps breaking"):
        download("http://127.0.0.1:9/x.bin", target, digest=None, max_bytes=1000, attempts=1)
    with pytest.raises(DataError, match="is no digest"):
        download(f"{server.url}/small.bin", target, digest="sha1:00000000", max_bytes=1000)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        download(f"{server.url}/small.bin", tmp_path / "file" / "x.bin", digest=None, max_bytes=1000)
    assert not leftovers(tmp_path)


def test_two_at_once_fetch_it_once(server: FileServer, tmp_path: Path) -> None:
    digest, results = f"sha256:{sha256(LARGE)}", []

    def fetch() -> None:
        url = f"{server.url}/folder/large.bin"
        results.append(download(url, tmp_path / "large.bin", digest=digest, max_bytes=LIMIT))

    threads = [threading.Thread(target=fetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [sha256(LARGE)] * 3
    assert len(server.gets()) == 3
    assert not leftovers(tmp_path)


def test_local_files_by_path_and_url(tmp_path: Path) -> None:
    (tmp_path / "source.bin").write_bytes(LARGE)
    for i, url in enumerate((str(tmp_path / "source.bin"), (tmp_path / "source.bin").as_uri())):
        assert download(url, tmp_path / f"{i}.bin", digest=None, max_bytes=LIMIT) == sha256(LARGE)


def test_s3_is_read_in_blocks_and_continued(s3_bucket: str, tmp_path: Path) -> None:
    import fsspec

    url, target = f"s3://{s3_bucket}/weights/large.bin", tmp_path / "large.bin"
    fsspec.filesystem("s3").pipe_file(f"{s3_bucket}/weights/large.bin", LARGE)
    assert download(url, target, digest=f"sha256:{sha256(LARGE)}", max_bytes=LIMIT) == sha256(LARGE)
    # What a broken download leaves, with a mark at its head: it is continued if the mark is still there.
    (tmp_path / ".unseg-large.bin.json").rename(tmp_path / ".unseg-large.bin.part.json")
    (tmp_path / ".unseg-large.bin.part").write_bytes(b"mark" + LARGE[4 : BLOCK + 77])
    target.unlink()
    assert download(url, target, digest=None, max_bytes=LIMIT) == sha256(b"mark" + LARGE[4:])
    with pytest.raises(DataError, match="cannot be read"):
        download(f"s3://{s3_bucket}/weights/absent.bin", target, digest=None, max_bytes=LIMIT)
    with pytest.raises(DataError, match="cannot be read"):
        download("s3://no-such-bucket/x.bin", target, digest=None, max_bytes=LIMIT)


@pytest.fixture
def s3_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a real S3 server; the endpoint is named as a user of MinIO or Ceph would."""
    import fsspec
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    filesystem = fsspec.filesystem("s3")
    bucket = f"unseg-{port}"  # the servers of one process share what they hold
    filesystem.mkdir(bucket)
    yield bucket
    filesystem.rm(bucket, recursive=True)
    type(filesystem).clear_instance_cache()
    running.stop()


def test_credentials_and_signatures_are_not_shown() -> None:
    text = "403, url='https://me:pass@host/a.pth?X-Signature=abc', s3://key:secret@bucket/x"
    assert public_url(text) == "403, url='https://host/a.pth', s3://bucket/x"
    assert is_digest("md5:8cad7c")
    assert not is_digest("md5:8cad")
