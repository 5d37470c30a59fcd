"""The networks: counts and entries of the published model, golden numbers that need no large network, weight files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden import GOLDEN, array, fill_by_rule, png

from unseg_core.errors import ParameterError, WeightsError
from unseg_core.images import resize_bilinear
from unseg_core.model.budget import add_noise
from unseg_core.model.generator import Generator
from unseg_core.model.prompts import Prompts, box_of, draw_one, draw_subset, random_points, roughen_mask
from unseg_core.model.sizes import SIZES, TINY, size_by_name
from unseg_core.model.surrogate import Surrogate
from unseg_core.model.weights import (
    canonical_bytes,
    count_parameters,
    initialise,
    load_generator,
    load_surrogate,
    save_weights,
)
from unseg_core.protect.methods.unseg import image_noise
from unseg_core.protect.region import protected_region
from unseg_core.train.losses import importance_points, point_losses

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no golden numbers: set UNSEG_GOLDEN to their folder")


def test_counts_of_the_published_model() -> None:
    with torch.device("meta"):
        generator, surrogate = Generator(size=SIZES["vit_b"]), Surrogate(size=SIZES["vit_b"])
    assert count_parameters(generator) == 100_988_016
    assert sum(p.numel() for p in generator.noise_parameters()) == 7_252_544
    assert count_parameters(surrogate) == 91_070_476


@needs_golden
@pytest.mark.parametrize(("network", "name"), [(Generator, "generator"), (Surrogate, "surrogate")])
def test_entries_of_the_published_model(network: type[Generator] | type[Surrogate], name: str) -> None:
    with torch.device("meta"):
        own = network(size=SIZES["vit_b"]).state_dict()
    lines = (GOLDEN / f"entries_{name}.txt").read_text().splitlines()
    listed = {tuple(line.split()[:2]) for line in lines if line.strip()}
    assert {(key, "x".join(map(str, value.shape))) for key, value in own.items()} == listed


@needs_golden
def test_mask_roughening_matches_golden() -> None:
    mask = torch.from_numpy(png("maskaug_in").astype(np.float32))[None, None]
    normal = np.random.Generator(np.random.PCG64(20240101)).standard_normal((1, 1, 256, 256), dtype=np.float32)
    rough = roughen_mask(mask, torch.from_numpy(normal))[0, 0].numpy()
    assert np.array_equal(rough, png("maskaug_out"))
    assert box_of(png("maskaug_in") > 128) == (50, 90, 190, 190)


@needs_golden
def test_importance_sampling_matches_golden() -> None:
    logits = torch.from_numpy(array("train_epoch0_eps1_logits"))
    with np.load(GOLDEN / "train_prompts.npz") as prompts:
        target = torch.from_numpy(prompts["resized_labels"]).float() / 255.0
    random = np.random.Generator(np.random.PCG64(777))
    candidates = torch.from_numpy(random.random((2, 37_632, 2), dtype=np.float32))
    uniform = torch.from_numpy(random.random((2, 3_136, 2), dtype=np.float32))
    points = importance_points(logits, candidates, uniform, 9_408)
    assert np.abs(points.numpy() - array("pointsample_coords")).max() < 1e-6
    bce, dice = point_losses(logits, target.reshape(2, 1, *target.shape[-2:]), points)
    assert bce.item() == pytest.approx(0.692074180, abs=1e-6)
    assert dice.item() == pytest.approx(0.647154033, abs=1e-6)


@needs_golden
@pytest.mark.slow
def test_published_size_gives_the_golden_noise_and_image() -> None:
    generator = Generator(size=SIZES["vit_b"]).eval()
    fill_by_rule(generator)
    image, mask = png("b_gradient_image"), png("b_gradient_mask") > 127
    noise = image_noise(generator, image, mask)
    golden = resize_bilinear(torch.from_numpy(array("b_gradient_noise")[0]), 640)[:, :480].numpy()
    assert np.abs(noise - golden).max() < 5e-5
    protected = add_noise(image, noise, protected_region(mask), epsilon=8, epsilon_bg=2)
    difference = np.abs(protected.astype(int) - png("b_gradient_protected").astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("network", [Generator, Surrogate])
def test_mixed_prompts_in_one_batch_equal_single_ones(network: type[Generator] | type[Surrogate]) -> None:
    model = initialise(network, TINY, 0).eval()
    side = TINY.input_size if network is Generator else TINY.surrogate_input_size
    mask_side = TINY.noise_size if network is Generator else TINY.noise_size // 2
    images = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(1, 1, mask_side, mask_side)
    masks[..., :9] = 255.0
    prompts = [
        Prompts(count=1, masks=masks),
        Prompts(count=1, boxes=torch.tensor([[3.0, 4.0, 30.0, 20.0]])),
        Prompts(count=1, points=torch.tensor([[[5.0, 6.0]] * 10])),
    ]
    with torch.inference_mode():
        order = [2, 0, 1]
        together = model(images, [(torch.tensor([i]), prompts[i]) for i in order])
        alone = [model(images[i : i + 1], [(torch.tensor([0]), prompts[i])]) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_only_noise_entries_are_trained_like_the_paper() -> None:
    generator = initialise(Generator, TINY, 0)
    generator.train_only_noise(True)
    trained = {name for name, p in generator.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in generator.named_parameters() if "noise" in name}


def test_prompt_draws_are_fair_and_valid(rng: np.random.Generator) -> None:
    subsets = [draw_subset(rng) for _ in range(2000)]
    assert len(set(subsets)) == 7
    assert all(200 < subsets.count(one) < 380 for one in set(subsets))
    assert {len(draw_one(rng)) for _ in range(50)} == {1}
    mask = np.zeros((20, 30), dtype=bool)
    mask[4, 5] = mask[6, 7] = True
    points = random_points(mask, rng)
    assert points.shape == (10, 2)
    assert {tuple(p) for p in points.tolist()} == {(5.0, 4.0), (7.0, 6.0)}
    assert box_of(mask) == (5, 4, 7, 6)


def test_weights_come_back_exactly_and_bytes_are_stable(tmp_path: Path) -> None:
    network = initialise(Generator, TINY, 1)
    first = save_weights(network, tmp_path / "a.safetensors", kind="generator", provenance={"b": 1, "a": 2})
    second = save_weights(
        initialise(Generator, TINY, 1), tmp_path / "b.safetensors", kind="generator", provenance={"a": 2, "b": 1}
    )
    assert first == second
    loaded = load_generator(tmp_path / "a.safetensors").state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in network.state_dict().items())


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    state = dict(initialise(Generator, TINY, 0).state_dict())
    state["mask_decoder.noise_token.weight"] = torch.zeros(2, 2)
    del state["mask_decoder.iou_token.weight"]
    state["surplus"] = torch.zeros(1)
    metadata = {"format": "unseg-1", "kind": "generator", "size": "tiny"}
    (tmp_path / "odd.safetensors").write_bytes(canonical_bytes(state, metadata))
    with pytest.raises(WeightsError) as caught:
        load_generator(tmp_path / "odd.safetensors")
    for part in ("3 entries", "missing mask_decoder.iou_token", "extra surplus", "is (2, 2) instead of (3, 64)"):
        assert part in str(caught.value)


def test_other_files_are_no_weights(tmp_path: Path) -> None:
    save_weights(initialise(Surrogate, TINY, 0), tmp_path / "s.safetensors", kind="surrogate", provenance={})
    assert load_surrogate(tmp_path / "s.safetensors").size is TINY
    (tmp_path / "broken.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00notjson!")
    for name, message in (("s", "is no generator"), ("broken", "not a safetensors"), ("nowhere", "does not exist")):
        with pytest.raises(WeightsError, match=message):
            load_generator(tmp_path / f"{name}.safetensors")
    with pytest.raises(ParameterError, match="choose one of"):
        size_by_name("huge")
