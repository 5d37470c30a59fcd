"""A generator by path, URL, registry URI or as the authors published it: always a file that `load_generator` reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_pairs
from file_server import FileServer, serve
from typer.testing import CliRunner

from unseg_core.cli import app
from unseg_core.errors import DataError, ParameterError, WeightsError
from unseg_core.model.generator import Generator
from unseg_core.model.generator_reference import resolve_generator
from unseg_core.model.sizes import SMALL, TINY
from unseg_core.model.weights import initialise, load_generator, read_metadata, save_weights

NETWORK = initialise(Generator, TINY, 9)
STATE = NETWORK.state_dict()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    save_weights(NETWORK, tmp_path / "ours.safetensors", kind="generator", provenance={})
    return tmp_path / "ours.safetensors"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    torch.save(STATE, tmp_path / "Generator final.pth")
    return tmp_path / "Generator final.pth"


def is_state(path: Path) -> bool:
    loaded = load_generator(path).state_dict()
    return loaded.keys() == STATE.keys() and all(torch.equal(loaded[name], STATE[name]) for name in STATE)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_path_is_read_where_it_is(ours: Path, cache: Path) -> None:
    assert resolve_generator(str(ours), cache) == ours
    assert resolve_generator(f"{ours}#sha256:{digest(ours)[:12]}", cache) == ours
    assert not cache.exists()


@pytest.mark.parametrize(
    "save",
    [
        lambda path: torch.save(STATE, path),
        lambda path: torch.save({"model": {f"module.{name}": tensor for name, tensor in STATE.items()}}, path),
        lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
    ],
)
def test_the_published_checkpoint_is_converted_once(tmp_path: Path, cache: Path, save: Callable[[Path], None]) -> None:
    path = tmp_path / "anything"
    save(path)
    converted = resolve_generator(str(path), cache)
    assert is_state(converted)
    assert converted.is_relative_to(cache)
    assert digest(path) in read_metadata(converted)["provenance"]
    before, content = converted.stat().st_mtime_ns, converted.read_bytes()
    assert resolve_generator(str(path), cache).stat().st_mtime_ns == before
    converted.unlink()
    assert resolve_generator(str(path), cache).read_bytes() == content, "manifests name a generator by its sha256"


def test_sizes_are_told_apart(tmp_path: Path, cache: Path) -> None:
    torch.save(initialise(Generator, SMALL, 1).state_dict(), tmp_path / "small.pth")
    assert load_generator(resolve_generator(str(tmp_path / "small.pth"), cache)).size == SMALL


def test_urls_are_fetched_once(ours: Path, published: Path, cache: Path) -> None:
    files = {"a/generator.safetensors": ours.read_bytes(), "b/generator": published.read_bytes()}
    with serve(FileServer(files=files)) as server:
        fetched = resolve_generator(f"{server.url}/a/generator.safetensors", cache)
        assert fetched.read_bytes() == ours.read_bytes()
        assert is_state(resolve_generator(f"{server.url}/b/generator", cache)), "the name says nothing"
        gets = len(server.gets())
        assert resolve_generator(f"{server.url}/a/generator.safetensors", cache) == fetched
        assert len(server.gets()) == gets
        with pytest.raises(DataError, match="instead of sha256:012345"):
            resolve_generator(f"{server.url}/a/generator.safetensors#sha256:012345", cache)
        with pytest.raises(DataError, match="nothing"):
            resolve_generator(f"{server.url}/nothing", cache)
    assert is_state(resolve_generator(f"file://{ours}", cache))


def test_what_is_no_generator_is_refused(tmp_path: Path, cache: Path, ours: Path) -> None:
    sam = {name: tensor for name, tensor in STATE.items() if "noise" not in name}
    torch.save(sam, tmp_path / "sam.pth")
    torch.save(
        {**sam, "noise": torch.zeros(1), "image_encoder.pos_embed": torch.zeros(1, 9, 9, 4)}, tmp_path / "odd.pth"
    )
    torch.save(dict(list(STATE.items())[:-3]), tmp_path / "cut.pth")
    (tmp_path / "bad.pth").write_bytes(b"PK\x03\x04" + b"0" * 100)
    for name, message in (
        ("sam.pth", "nothing in it makes noise"),
        ("odd.pth", r"no generator of a known size \(vit_b"),
        ("cut.pth", r"does not fit the network \(3 entries\): missing"),
        ("bad.pth", "no checkpoint that can be read safely"),
        ("nowhere.pth", "does not exist; check the path"),
        (f"{ours.name}#sha256:012345", "not sha256:012345"),
    ):
        with pytest.raises(WeightsError, match=message):
            resolve_generator(str(tmp_path / name), cache)
    (tmp_path / "text").write_text("{}")
    assert resolve_generator(str(tmp_path / "text"), cache) == tmp_path / "text"
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load_generator(tmp_path / "text")


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path, cache: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
            return exec, (f"open({str(tmp_path / 'trapped')!r}, 'w')",)

    torch.save({"image_encoder.pos_embed": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(WeightsError, match="no checkpoint that can be read safely"):
        resolve_generator(str(tmp_path / "trap.pth"), cache)
    assert not (tmp_path / "trapped").exists()


def test_registry_uris_go_to_the_registry(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/absent.db")
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    with pytest.raises(ParameterError, match="write models:/NAME@ALIAS"):
        resolve_generator("models:/one/two/three", cache)
    with pytest.raises(ParameterError, match=r"absent\.db does not exist; set MLFLOW_TRACKING_URI"):
        resolve_generator("models:/unseg-generator@champion", cache)


def test_the_command_line_takes_a_published_checkpoint(
    tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where the cache is
    source = write_pairs(tmp_path / "source", 2, rng)
    copy = tmp_path / "copy"
    done = CliRunner().invoke(app, ["protect", str(source), str(copy), "--generator", str(published)])
    assert done.exit_code == 0, done.output
    assert "2 protected" in done.output
