"""Official checkpoints: files of their names, entries and shapes into our networks; the stage that fetches them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from file_server import FileServer, serve
from segment_anything import sam_model_registry
from torch import Tensor
from torchvision.models import resnet50

from tasks import weights as stage
from tasks.parameters import load_params
from unseg_core.download import file_digest
from unseg_core.errors import DataError, ParameterError, WeightsError
from unseg_core.model import official
from unseg_core.model.generator import Generator
from unseg_core.model.prompts import Prompts
from unseg_core.model.sizes import SIZES, SMALL, TINY, Size
from unseg_core.model.surrogate import Surrogate
from unseg_core.model.weights import initialise, load_generator, load_surrogate, read_metadata, save_weights
from unseg_core.params import WeightsParams


def sam_state(size: Size, seed: int = 5) -> dict[str, Tensor]:
    """A SAM of this size with other weights than any network here: our generator without its noise entries."""
    state = initialise(Generator, size, seed).state_dict()
    return {name: tensor for name, tensor in state.items() if "noise" not in name}


def mae_state(*, dim: int, depth: int, patch: int, side: int) -> dict[str, Tensor]:
    """The entries of an MAE checkpoint, as timm names them."""
    draw = torch.Generator().manual_seed(3)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, dim),
        "pos_embed": (1, side * side + 1, dim),
        "patch_embed.proj.weight": (dim, 3, patch, patch),
        "patch_embed.proj.bias": (dim,),
        "norm.weight": (dim,),
        "norm.bias": (dim,),
    }
    linear = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
    for i in range(depth):
        for name, shape in linear.items():
            shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{name}.weight": (dim,), f"blocks.{i}.{name}.bias": (dim,)}
    return {name: torch.randn(shape, generator=draw) * 0.02 for name, shape in shapes.items()}


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_every_entry_of_the_official_sam_has_its_place(name: str) -> None:
    with torch.device("meta"):
        theirs, ours = sam_model_registry[name]().state_dict(), Generator(size=SIZES[name]).state_dict()
    shapes = {key: tensor.shape for key, tensor in ours.items() if "noise" not in key}
    assert {key: tensor.shape for key, tensor in theirs.items()} == shapes
    assert len(ours) == {"vit_b": 359}.get(name, len(ours))
    assert name in official.SAM[name].name
    assert name in official.MAE


@pytest.mark.parametrize(("name", "mae_patch"), [("vit_b", 16), ("vit_l", 16), ("vit_h", 14)])
def test_every_entry_of_the_official_mae_has_its_place(name: str, mae_patch: int) -> None:
    size = SIZES[name]
    with torch.device("meta"):
        ours = Surrogate(size=size).image_encoder.state_dict()
    small = mae_state(dim=4, depth=size.depth, patch=mae_patch, side=224 // mae_patch)
    rest = {name.replace(".lin1.", ".fc1.").replace(".lin2.", ".fc2.") for name in ours}
    rest = {name for name in rest if "rel_pos" not in name and not name.startswith("neck.")}
    assert rest == set(small) - {"cls_token", "norm.weight", "norm.bias"}


def test_sam_fills_all_but_the_noise(tmp_path: Path) -> None:
    generator, before = initialise(Generator, TINY, 0), initialise(Generator, TINY, 0).state_dict()
    state = sam_state(TINY)
    official.fill_sam(generator, saved(tmp_path / "sam_vit_b_01ec64.pth", state))
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[name] if "noise" in name else state[name]), name


@pytest.mark.parametrize("prefixed", [True, False])
def test_sam_in_three_files(tmp_path: Path, prefixed: bool) -> None:
    state, paths = sam_state(TINY), {}
    for part, name in official.sam_part_files("vit_b").items():
        entries = {key: tensor for key, tensor in state.items() if key.startswith(f"{part}.")}
        cut = 0 if prefixed else len(part) + 1
        paths[part] = saved(tmp_path / name, {key[cut:]: tensor for key, tensor in entries.items()})
    assert [path.name for path in paths.values()] == [
        "sam_vit_b_backbone.pth",
        "sam_vit_b_prompt_decoder.pth",
        "sam_vit_b_maskdecoder.pth",
    ]
    generator = initialise(Generator, TINY, 0)
    official.fill_sam_parts(generator, paths)
    assert all(torch.equal(generator.state_dict()[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_published_generator_fills_everything(tmp_path: Path, prefix: str) -> None:
    state = initialise(Generator, TINY, 9).state_dict()
    path = saved(tmp_path / "Generator_unseg_final.pth", {prefix + name: tensor for name, tensor in state.items()})
    generator = initialise(Generator, TINY, 0)
    official.fill_published(generator, path)
    assert all(torch.equal(tensor, state[name]) for name, tensor in generator.state_dict().items())
    with pytest.raises(WeightsError, match=r"set weights\.generator to published"):
        official.fill_sam(generator, path)


def test_mae_fills_the_encoder_and_nothing_else(tmp_path: Path) -> None:
    surrogate, before = initialise(Surrogate, TINY, 0), initialise(Surrogate, TINY, 0).state_dict()
    for name, parameter in surrogate.named_parameters():
        if "rel_pos" in name:
            torch.nn.init.ones_(parameter)
    state = mae_state(dim=96, depth=4, patch=8, side=14)
    official.fill_mae(surrogate, saved(tmp_path / "mae_pretrain_vit_base.pth", {"model": state}))
    after = surrogate.state_dict()
    assert torch.equal(after["image_encoder.blocks.3.mlp.lin2.weight"], state["blocks.3.mlp.fc2.weight"])
    assert torch.equal(after["image_encoder.patch_embed.proj.weight"], state["patch_embed.proj.weight"])
    assert not any(after[name].any() for name in after if "rel_pos" in name)
    untouched = [name for name in after if not name.startswith("image_encoder.") or ".neck." in name]
    assert all(torch.equal(after[name], before[name]) for name in untouched)


def test_mae_positions_and_patches_are_resized(tmp_path: Path) -> None:
    """A position embedding that grows from left to right still does, and an even patch gives the same value."""
    state = mae_state(dim=96, depth=4, patch=7, side=14)
    ramp = torch.arange(14.0).repeat(14)
    state["pos_embed"] = torch.cat([torch.full((1,), 99.0), ramp])[None, :, None].repeat(1, 1, 96)
    surrogate = initialise(Surrogate, TINY, 0)
    official.fill_mae(surrogate, saved(tmp_path / "mae_pretrain_vit_huge.pth", {"model": state}))
    positions = surrogate.image_encoder.state_dict()["pos_embed"][0, :, :, 0]
    assert positions.shape == (6, 6)
    assert positions.max() < 14
    assert torch.allclose(positions, positions[:1].expand(6, 6), atol=1e-4)
    assert (positions[0].diff() > 1.5).all()
    kernel, old = surrogate.image_encoder.state_dict()["patch_embed.proj.weight"], state["patch_embed.proj.weight"]
    flat = torch.full_like(old, 0.5)
    state["patch_embed.proj.weight"] = flat
    official.fill_mae(surrogate, saved(tmp_path / "flat.pth", {"model": state}))
    resized = surrogate.image_encoder.state_dict()["patch_embed.proj.weight"]
    assert kernel.shape == resized.shape == (96, 3, 8, 8)
    assert torch.allclose(resized.sum((2, 3)), flat.sum((2, 3)))
    state["pos_embed"] = torch.zeros(1, 12, 96)
    with pytest.raises(WeightsError, match=r"pos_embed is \(1, 12, 96\)"):
        official.fill_mae(surrogate, saved(tmp_path / "odd.pth", {"model": state}))


def test_resnet_trunk_is_the_one_of_torchvision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = resnet50(replace_stride_with_dilation=[False, True, True]).eval()
    for name, buffer in theirs.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    surrogate = initialise(Surrogate, TINY, 0, encoder="resnet50")
    official.fill_resnet(surrogate, saved(tmp_path / "resnet50-0676ba61.pth", theirs.state_dict()))
    image = torch.rand(2, 3, 48, 48)
    expected = image
    for name, part in theirs.named_children():
        expected = expected if name in ("avgpool", "fc") else part(expected)
    with torch.inference_mode():
        assert torch.allclose(surrogate.image_encoder.trunk(image), expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(WeightsError, match=r"set weights\.surrogate to resnet50"):
        official.fill_resnet(initialise(Surrogate, TINY, 0), tmp_path / "resnet50-0676ba61.pth")


def test_surrogate_with_a_resnet_learns_and_comes_back(tmp_path: Path) -> None:
    surrogate = initialise(Surrogate, TINY, 4, encoder="resnet50")
    with torch.device("meta"):
        grid = Surrogate(size=SIZES["vit_b"], encoder="resnet50").image_encoder(torch.zeros(1, 3, 512, 512)).shape
    assert grid == (1, 256, 32, 32)
    one = torch.tensor([0])
    prompts = Prompts(image=one, row=one, boxes=torch.tensor([[3.0, 4.0, 30.0, 20.0]]))
    logits = surrogate(torch.rand(1, 3, 48, 48), [prompts])
    assert logits.shape == (1, 1, TINY.noise_size // 2, TINY.noise_size // 2)
    logits.sum().backward()
    assert surrogate.image_encoder.trunk.conv1.weight.grad.isfinite().all()
    features = surrogate.image_encoder.trunk(torch.rand(1, 3, 48, 48))
    assert 0.01 < features.detach().std().item() < 100  # a random start neither dies nor blows up
    path = tmp_path / "surrogate.safetensors"
    save_weights(surrogate, path, kind="surrogate", provenance={})
    assert read_metadata(path)["encoder"] == "resnet50"
    loaded = load_surrogate(path).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in surrogate.state_dict().items())
    with pytest.raises(WeightsError, match="choose one of vit, resnet50"):
        Surrogate(size=TINY, encoder="vgg")


def test_a_checkpoint_of_another_size_is_listed_in_short(tmp_path: Path) -> None:
    path = saved(tmp_path / "sam_vit_l_0b3195.pth", sam_state(SMALL))
    with pytest.raises(WeightsError) as caught:
        official.fill_sam(initialise(Generator, TINY, 0), path)
    text = str(caught.value)
    assert "sam_vit_l_0b3195.pth does not fit the network" in text
    assert "extra image_encoder.blocks.4." in text
    assert " more" in text
    assert text.count(";") == 20


class Payload:
    """What an attacker would put into a checkpoint."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("attacked"),))


def test_other_files_are_no_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    whole = saved(tmp_path / "whole.pth", sam_state(TINY)).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    saved(tmp_path / "attack.pth", {"model": Payload()})
    saved(tmp_path / "list.pth", [torch.zeros(1)])
    saved(tmp_path / "mixed.pth", {"a": torch.zeros(1), "epoch": 3})
    for name, message in (
        ("page", "no checkpoint that can be read safely"),
        ("cut", "no checkpoint that can be read safely"),
        ("attack", "no checkpoint that can be read safely"),
        ("list", "no named tensors"),
        ("mixed", r"more than tensors \(epoch\)"),
        ("absent", "does not exist"),
    ):
        with pytest.raises(WeightsError, match=message):
            official.read_checkpoint(tmp_path / f"{name}.pth")
    assert not (tmp_path / "attacked").exists()


def test_old_formats_are_read(tmp_path: Path) -> None:
    """torchvision's older files are not zip archives and cannot be mapped into memory."""
    torch.save({"a": torch.ones(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(official.read_checkpoint(tmp_path / "old.pth")["a"], torch.ones(3))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    state = {"model": mae_state(dim=96, depth=4, patch=8, side=14)}
    contents = {"sam.pth": sam_state(TINY), "mae.pth": state}
    for part, name in official.sam_part_files("tiny").items():
        contents[name] = {key: tensor for key, tensor in sam_state(TINY).items() if key.startswith(f"{part}.")}
    files = {name: saved(tmp_path / "served", content).read_bytes() for name, content in contents.items()}
    with serve(FileServer(files=files)) as running:
        yield running


def run_stage(**params: object) -> None:
    Path("params.yaml").write_text(yaml.safe_dump({"profile": "test", "weights": {"size": "tiny", **params}}))
    stage.main([])


def test_the_stage_fetches_once_and_names_the_files(project: Path, server: FileServer) -> None:
    url = server.url.replace("://", "://me:secret@")
    for seed in (0, 1):
        run_stage(
            generator="sam",
            generator_url=f"{url}/sam.pth?signature=secret",
            surrogate="mae",
            surrogate_url=f"{url}/mae.pth",
            seed=seed,
        )
    assert len(server.gets()) == 2
    generator = load_generator("data/weights/generator.safetensors").state_dict()
    assert all(torch.equal(generator[name], tensor) for name, tensor in sam_state(TINY).items())
    text = read_metadata("data/weights/surrogate.safetensors")["provenance"]
    assert json.loads(text)["initialisation"] == "mae"
    assert json.loads(text)["files"][0]["url"] == f"{server.url}/mae.pth"
    assert "secret" not in read_metadata("data/weights/generator.safetensors")["provenance"]
    run_stage(generator="sam", generator_url=f"{url}/")
    with pytest.raises(DataError, match="instead of sha256:000000"):
        run_stage(generator="sam", generator_url=f"{url}/sam.pth#sha256:000000")


def test_the_stage_reads_local_files_where_they_are(project: Path) -> None:
    path = saved(project / "Generator_unseg_final.pth", initialise(Generator, TINY, 9).state_dict())
    run_stage(generator="published", generator_url=str(path), surrogate="resnet50-random")
    assert load_surrogate("data/weights/surrogate.safetensors").encoder == "resnet50"
    assert not Path("data/work/official").exists()
    with pytest.raises(WeightsError, match=r"not md5:000000"):
        run_stage(generator="published", generator_url=f"{path}#md5:000000")
    with pytest.raises(ParameterError, match=r"no official weights for size 'tiny'.*set weights.surrogate_url"):
        run_stage(surrogate="mae")


def test_a_random_start_keeps_its_bytes(project: Path) -> None:
    """The starter profile's lock names these files."""
    run_stage(seed=0)
    locked = yaml.safe_load((Path(__file__).parents[1] / "dvc.lock").read_text())["stages"]["weights"]["outs"][0]["md5"]
    listing = [
        {"md5": file_digest(path, "md5"), "relpath": path.name} for path in sorted(Path("data/weights").iterdir())
    ]
    assert f"{hashlib.md5(json.dumps(listing).encode()).hexdigest()}.dir" == locked
    assert json.loads(read_metadata("data/weights/generator.safetensors")["provenance"]) == {
        "initialisation": "random",
        "seed": 0,
    }
    assert load_params().weights == WeightsParams()


def test_parameters_that_contradict_each_other() -> None:
    with pytest.raises(ParameterError, match="can only be fetched with a browser"):
        WeightsParams(generator="published")
    with pytest.raises(ParameterError, match="the published generator has none"):
        WeightsParams(generator="published", generator_url="x.pth", noise_filter="band-pass")
    with pytest.raises(ParameterError, match=r"weights\.surrogate is 'resnet50-random'"):
        WeightsParams(surrogate="resnet50-random", surrogate_url="x.pth")


@pytest.mark.slow
def test_true_sizes(tmp_path: Path) -> None:
    """ViT-B as it is published: SAM's own entries and 375 MB, MAE's 14 x 14 positions."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in sam_model_registry["vit_b"]().state_dict().items()}
    state = {name: torch.full(shape, 0.25) for name, shape in shapes.items()}
    generator = initialise(Generator, SIZES["vit_b"], 0)
    official.fill_sam(generator, saved(tmp_path / "sam_vit_b_01ec64.pth", state))
    assert all((tensor == 0.25).all() for name, tensor in generator.state_dict().items() if "noise" not in name)
    (tmp_path / "sam_vit_b_01ec64.pth").unlink()
    del generator, state
    surrogate = initialise(Surrogate, SIZES["vit_b"], 0)
    mae = saved(tmp_path / "mae_pretrain_vit_base.pth", {"model": mae_state(dim=768, depth=12, patch=16, side=14)})
    official.fill_mae(surrogate, mae)
    mae.unlink()
    assert surrogate.image_encoder.state_dict()["pos_embed"].shape == (1, 32, 32, 768)
