"""The generator that comes with the package: what it promises, and that `unseg protect` needs no other."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tasks import ship
from unseg_core.cli import app
from unseg_core.data.scenes import write_scenes
from unseg_core.errors import WeightsError
from unseg_core.model import generator_reference, shipped
from unseg_core.model.generator import Generator
from unseg_core.model.generator_reference import SHIPPED, resolve_generator
from unseg_core.model.sizes import SMALL, TINY
from unseg_core.model.weights import half_sized, initialise, load_generator, read_metadata, save_weights

MOST_BYTES = 16_000_000


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_small_pinned_and_comes_with_its_card(name: str) -> None:
    path = resolve_generator(name)
    assert path.stat().st_size <= MOST_BYTES
    generator = load_generator(path)
    assert generator.size == SMALL
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in generator.parameters())
    recipe = json.loads(read_metadata(path)["provenance"])
    assert [source["images"] for source in recipe["training"]]
    card = resources.files(shipped).joinpath(f"{name}.md").read_text(encoding="utf-8")
    assert SHIPPED[name][1] in card
    assert "licence" in card.lower()


def test_another_file_in_its_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.safetensors").write_bytes(b"something else")
    monkeypatch.setitem(generator_reference.SHIPPED, "small", (tmp_path / "small.safetensors", shipped.SMALL_SHA256))
    with pytest.raises(
        WeightsError, match="not the generator that was published with this version; install the package again"
    ):
        resolve_generator("small")


def test_protection_out_of_the_box(tmp_path: Path) -> None:
    source = tmp_path / "scenes"
    write_scenes(source, count=3, size=96, seed=0)
    done = CliRunner().invoke(app, ["protect", str(source), str(tmp_path / "safe"), "--method", "unseg", "--json"])
    assert done.exit_code == 0, done.output
    totals = json.loads(done.stdout)["totals"]
    assert (totals["protected"], totals["failed"]) == (3, 0)
    assert (totals["linf_inside"], totals["linf_outside"]) == (8, 2)
    checked = CliRunner().invoke(app, ["verify", str(tmp_path / "safe"), "--against", str(source)])
    assert checked.exit_code == 0, checked.output


def test_half_the_bytes_and_nearly_the_same_weights(tmp_path: Path) -> None:
    network = initialise(Generator, TINY, 3)
    save_weights(network, tmp_path / "whole.safetensors", kind="generator", provenance={"seed": 3}, epsilon=8.0)
    (tmp_path / "half.safetensors").write_bytes(half_sized(tmp_path / "whole.safetensors"))
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    assert read_metadata(tmp_path / "half.safetensors") == read_metadata(tmp_path / "whole.safetensors")
    half = load_generator(tmp_path / "half.safetensors").state_dict()
    assert all(torch.allclose(half[name], value, rtol=1e-3, atol=1e-6) for name, value in network.state_dict().items())


def test_only_its_size_can_be_shipped(tmp_path: Path) -> None:
    save_weights(initialise(Generator, TINY, 3), tmp_path / "generator.safetensors", kind="generator", provenance={})
    with pytest.raises(WeightsError, match="is of size tiny; only small ships"):
        ship.main([str(tmp_path)])
