"""The networks: counts and entries of the published model, golden numbers that need no large network, weight files."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from unseg_core.errors import ParameterError, WeightsError
from unseg_core.image_tensors import enlarge_to
from unseg_core.model.generator import Generator
from unseg_core.model.noise_filters import LEARNT, NOISE_FILTERS, InUse, band_pass, learnt_stripes, stripes
from unseg_core.model.prompts import Prompts, box_of, draw_one, draw_subset, random_points
from unseg_core.model.sizes import SIZES, TINY, size_by_name
from unseg_core.model.surrogate import Surrogate
from unseg_core.model.weights import (
    canonical_bytes,
    count_parameters,
    initialise,
    load_generator,
    load_surrogate,
    read_metadata,
    save_weights,
)
from unseg_core.stripes import CYCLES, CYCLES_FOR_SMALL, FINE

BOX = torch.tensor([[3.0, 4.0, 30.0, 20.0]])


def test_counts_of_the_published_model() -> None:
    with torch.device("meta"):
        generator, surrogate = Generator(size=SIZES["vit_b"]), Surrogate(size=SIZES["vit_b"])
    assert count_parameters(generator) == 100_988_016
    assert sum(p.numel() for p in generator.noise_parameters()) == 7_252_544
    assert count_parameters(surrogate) == 91_070_476


@pytest.mark.parametrize("network", [Generator, Surrogate])
def test_mixed_prompts_in_one_batch_equal_single_ones(network: type[Generator] | type[Surrogate]) -> None:
    model = initialise(network, TINY, 0).eval()
    side = TINY.input_size if network is Generator else TINY.surrogate_input_size
    mask_side = TINY.noise_size if network is Generator else TINY.noise_size // 2
    images = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(1, 1, mask_side, mask_side)
    masks[..., :9] = 255.0
    prompts = [
        {"masks": masks},
        {"boxes": BOX},
        {"points": torch.tensor([[[5.0, 6.0]] * 10])},
    ]
    with torch.inference_mode():
        together = model(images, [_prompts(i, i, prompts[i]) for i in (2, 0, 1)])
        alone = [model(images[i : i + 1], [_prompts(0, 0, prompts[i])]) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def _prompts(image: int, row: int, given: dict[str, torch.Tensor]) -> Prompts:
    return Prompts(image=torch.tensor([image]), row=torch.tensor([row]), **given)


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


def test_the_trained_budget_is_in_the_metadata(tmp_path: Path) -> None:
    network, path = initialise(Generator, TINY, 0), tmp_path / "g.safetensors"
    save_weights(network, path, kind="generator", provenance={})
    assert set(read_metadata(path)) == {"format", "kind", "size", "provenance"}
    save_weights(network, path, kind="generator", provenance={}, epsilon=8, epsilon_bg=0.25)
    metadata = read_metadata(path)
    assert (metadata["epsilon"], metadata["epsilon_bg"]) == ("8.0", "0.25")
    assert load_generator(path).size is TINY


def waves(cycles: float, *, high: float = 30.0) -> torch.Tensor:
    """[1, 3, 96, 96] of columns; with the height of an untrained decoder's product or more."""
    across = torch.arange(96) / 96
    return (high * torch.sin(2 * torch.pi * cycles * across)).expand(1, 3, 96, 96)


def test_band_pass_keeps_stripes_and_takes_detail_and_plain_colour() -> None:
    strength = [float(band_pass(waves(cycles)).std()) for cycles in (10, 24, 40)]
    assert strength == sorted(strength, reverse=True)
    assert strength[0] > 0.9
    assert strength[2] < 0.6, "however high the product is"
    assert band_pass(torch.full((1, 3, 96, 96), 5.0)).abs().max() < 1e-4
    grown = torch.nn.functional.interpolate(waves(10), scale_factor=2.0)
    assert torch.allclose(band_pass(grown).std(), band_pass(waves(10)).std(), atol=0.05), "of the side, not of pixels"


@pytest.mark.parametrize("cycles", [CYCLES, CYCLES_FOR_SMALL])
def test_the_sign_of_the_product_chooses_between_columns_and_diagonals(cycles: int) -> None:
    products = (torch.full((1, 3, 96, 96), height) for height in (5.0, -5.0))
    columns, diagonals = (stripes(product, None, InUse(cycles=cycles)) for product in products)
    assert torch.equal(columns, columns[:, :, :1].expand_as(columns)), "all rows alike"
    assert torch.allclose(diagonals, diagonals.transpose(2, 3), atol=1e-6)
    spectrum = torch.fft.rfft(columns[0, 0, 0]).abs()
    assert int(spectrum.argmax()) == cycles
    for noise in (columns, diagonals):
        assert noise.std() > 0.8
        assert torch.allclose(noise[:, 1], -noise[:, 2], atol=1e-6), "opposite colours"
    assert stripes(torch.zeros(1, 3, 96, 96)).abs().max() == 0
    detail = learnt_stripes(waves(40))
    assert detail.std() < 0.3, "finer than the stripes, however high the product is"


def test_stripes_have_the_whole_amplitude_in_use_and_a_gradient_in_training() -> None:
    unsure = torch.full((1, 3, 96, 96), 0.1, requires_grad=True)
    learning, used = NOISE_FILTERS["stripes"].in_training, NOISE_FILTERS["stripes"].in_use
    assert learning(unsure).std() < 0.3
    assert used(unsure).std() > 0.9
    slopes = [torch.autograd.grad(one(unsure).abs().mean(), unsure)[0].abs().sum() for one in (learning, used)]
    assert slopes[0] > 3 * slopes[1], "of the mean, since both differ in size"
    between = [(one(unsure).abs() < 0.9).float().mean() for one in (learning, used)]
    assert between[0] > 0.9
    assert between[1] < 0.2, "the rest has next to no gradient"


def test_stripes_in_use_are_drawn_finer_than_the_decoder_decides() -> None:
    """So the whole amplitude is left when they are enlarged to an image, on either side of a change of the waves."""
    product = torch.full((1, 3, 96, 96), 5.0)
    product[..., 48:] = -5.0
    noise = stripes(product)
    assert noise.shape == (1, 3, 4 * 96, 4 * 96)
    assert enlarge_to(noise[0], 512, 512).square().mean().sqrt() > 0.93
    assert torch.equal(noise[0, :, :, 300:], stripes(torch.full((1, 3, 96, 96), -5.0))[0, :, :, 300:])
    with_training = learnt_stripes(product)
    assert with_training.shape == product.shape
    assert int(torch.fft.rfft(with_training[0, 0, 0, :48]).abs().argmax()) == LEARNT // 2


@pytest.mark.parametrize("grey", [False, True])
def test_small_objects_have_columns_whatever_the_product_is(grey: bool) -> None:
    product, small = torch.full((2, 3, 96, 96), -5.0), torch.zeros(2, 1, 192, 192, dtype=torch.bool)
    small[1, :, 20:40, 60:80] = True
    columns, diagonals = (stripes(height * product, None, InUse(grey=grey)) for height in (-1, 1))
    noise = stripes(product, small, InUse(grey=grey))
    expected = diagonals.clone()
    expected[1, :, 40:80, 120:160] = columns[1, :, 40:80, 120:160]
    assert not torch.equal(expected, diagonals)
    assert torch.equal(noise, expected)


def test_stripes_without_colour_are_finer() -> None:
    products = (torch.full((1, 3, 256, 256), height) for height in (5.0, -5.0))
    columns, diagonals = (stripes(product, None, InUse(grey=True)) for product in products)
    assert int(torch.fft.rfft(columns[0, 1, 0]).abs().argmax()) == FINE
    assert torch.allclose(diagonals, diagonals.transpose(2, 3), atol=1e-6)
    for noise in (columns, diagonals):
        assert noise.std() > 0.8
        assert torch.equal(noise[:, 0], noise[:, 1])


def test_a_generator_keeps_its_noise_filter(tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    found = {}
    for name in NOISE_FILTERS:
        save_weights(initialise(Generator, TINY, 3, noise_filter=name), path, kind="generator", provenance={})
        found[name] = load_generator(path)
        assert found[name].noise_filter == name
        assert read_metadata(path).get("noise_filter", "none") == name, "what the paper has is not named"
    image, prompts = torch.rand(1, 3, TINY.input_size, TINY.input_size), [_prompts(0, 0, {"boxes": BOX})]
    with torch.inference_mode():
        noises = [enlarge_to(generator(image, prompts)[0], 96, 96) for generator in found.values()]
    assert all(not torch.allclose(one, another) for one, another in itertools.combinations(noises, 2))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"stripes", b"plaster"))
    with pytest.raises(WeightsError, match="noise filter 'plaster'; it needs a newer version"):
        load_generator(path)


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
