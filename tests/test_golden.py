"""The published method's numbers, and that the tests would notice the usual mistakes.

The networks are filled by the golden folder's rule; those at the published size are marked slow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from golden import GOLDEN, array, fill_by_rule, png
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from unseg_core.device import autocast
from unseg_core.image_tensors import network_input, resize_bilinear
from unseg_core.model import generator as generator_module
from unseg_core.model import parts
from unseg_core.model.budget import add_noise
from unseg_core.model.generator import EncodedImages, Generator
from unseg_core.model.prompts import Prompts, box_of, roughen_mask
from unseg_core.model.sizes import SIZES
from unseg_core.model.surrogate import Surrogate, surrogate_input
from unseg_core.params import TrainParams
from unseg_core.protect.mask_prompt import mask_prompt
from unseg_core.protect.region import protected_region
from unseg_core.train.loop import freeze, make_players
from unseg_core.train.losses import importance_points, point_losses
from unseg_core.train.step import Batch, Phase, forward_logits

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no golden numbers: set UNSEG_GOLDEN to their folder")
VIT_B = SIZES["vit_b"]
FIRST = torch.zeros(1, dtype=torch.long)
NOISE_TOLERANCE = 5e-5


# --- without a large network -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("network", "name"), [(Generator, "generator"), (Surrogate, "surrogate")])
def test_entries_of_the_published_model(network: type[Generator] | type[Surrogate], name: str) -> None:
    with torch.device("meta"):
        own = network(size=VIT_B).state_dict()
    lines = (GOLDEN / f"entries_{name}.txt").read_text().splitlines()
    listed = {tuple(line.split()[:2]) for line in lines if line.strip()}
    assert {(key, "x".join(map(str, value.shape))) for key, value in own.items()} == listed


def test_mask_roughening() -> None:
    mask = torch.from_numpy(png("maskaug_in").astype(np.float32))[None, None]
    normal = np.random.Generator(np.random.PCG64(20240101)).standard_normal((1, 1, 256, 256), dtype=np.float32)
    rough = roughen_mask(mask, torch.from_numpy(normal))[0, 0].numpy()
    assert np.array_equal(rough, png("maskaug_out"))
    assert box_of(png("maskaug_in") > 128) == (50, 90, 190, 190)


def test_importance_sampling() -> None:
    logits = torch.from_numpy(array("train_epoch0_eps1_logits"))
    with np.load(GOLDEN / "train_prompts.npz") as prompts:
        target = torch.from_numpy(prompts["resized_labels"]).float() / 255.0
    random = np.random.Generator(np.random.PCG64(777))
    candidates = torch.from_numpy(random.random((2, 37_632, 2), dtype=np.float32))
    uniform = torch.from_numpy(random.random((2, 3_136, 2), dtype=np.float32))
    points = importance_points(logits, candidates, uniform, 9_408)
    assert np.abs(points.numpy() - array("pointsample_coords")).max() < 1e-6
    bce, dice = point_losses(logits, target, points)
    assert bce.item() == pytest.approx(0.692074180, abs=1e-6)
    assert dice.item() == pytest.approx(0.647154033, abs=1e-6)


def test_network_input_and_mask_prompt() -> None:
    model_input = network_input(png("b_gradient_image"), 1024)[None, :, ::4, ::4].numpy()
    assert np.abs(model_input - array("b_gradient_model_input_stride4")).max() < 1e-6
    prompt = mask_prompt(png("b_gradient_mask") > 127, 256).numpy()
    assert np.array_equal(prompt.reshape(256, 256), array("b_gradient_mask_prompt_256").reshape(256, 256))


@pytest.mark.parametrize("name", ["a_truck", "b_gradient", "c_portrait"])
def test_protected_image_from_the_golden_noise(name: str) -> None:
    image, mask = png(f"{name}_image"), png(f"{name}_mask") > 127
    assert _is_golden_image(name, _protect(image, mask, torch.from_numpy(array(f"{name}_noise"))[0]))


def test_noised_input_of_the_surrogate() -> None:
    image = _picture("s0_image512")
    label = resize_bilinear(torch.from_numpy(png("s_label1024").copy()).float()[None], 512)[None] / 255.0
    noise = torch.from_numpy(array("b_gradient_noise"))
    noised = parts.normalise(surrogate_input(image, noise, label, epsilon=8, epsilon_bg=2))
    assert np.abs(noised.numpy() - array("s0_noised_normalised_input")).max() < 1e-5


def _protect(image: np.ndarray, mask: np.ndarray, noise_3HW: Tensor) -> np.ndarray:
    height, width = mask.shape
    enlarged = resize_bilinear(noise_3HW, max(height, width))[:, :height, :width].numpy()
    return add_noise(image, enlarged, protected_region(mask), epsilon=8, epsilon_bg=2)


def _is_golden_image(name: str, protected: np.ndarray) -> bool:
    """At most one level, on fewer than 0.1 % of the values."""
    difference = np.abs(protected.astype(int) - png(f"{name}_protected").astype(int))
    return bool(difference.max() <= 1 and (difference > 0).mean() < 1e-3)


def _picture(name: str) -> Tensor:
    return torch.from_numpy(png(name).copy()).permute(2, 0, 1)[None].float() / 255.0


# --- the generator at the published size -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator() -> Generator:
    network = Generator(size=VIT_B).eval()
    fill_by_rule(network)
    return network


@pytest.fixture(scope="module")
def encoded(generator: Generator) -> EncodedImages:
    """Image b, encoded."""
    with torch.no_grad():
        return generator.encode(network_input(png("b_gradient_image"), 1024)[None])


def _mask_prompts(mask_11HW: Tensor) -> Prompts:
    return Prompts(image=FIRST, row=FIRST, masks=mask_11HW)


def _prompt_of(name: str) -> Prompts:
    return _mask_prompts(mask_prompt(png(f"{name}_mask") > 127, 256)[None])


def _noise_error(name: str, noise: Tensor) -> float:
    return float((noise - torch.from_numpy(array(f"{name}_noise"))).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a_truck", "b_gradient", "c_portrait"])
def test_noise_and_protected_image(generator: Generator, name: str) -> None:
    image, mask = png(f"{name}_image"), png(f"{name}_mask") > 127
    with torch.no_grad():
        noise = generator(network_input(image, 1024)[None], [_prompt_of(name)])
    assert _noise_error(name, noise) < NOISE_TOLERANCE
    assert _is_golden_image(name, _protect(image, mask, noise[0]))


@pytest.mark.slow
def test_bf16_moves_noise_and_pixels_a_little(generator: Generator) -> None:
    """A CPU without instructions for it takes minutes."""
    image, mask = png("a_truck_image"), png("a_truck_mask") > 127
    with torch.no_grad(), autocast(torch.device("cpu"), "bf16"):
        noise = generator(network_input(image, 1024)[None], [_prompt_of("a_truck")]).float()
    assert NOISE_TOLERANCE < _noise_error("a_truck", noise) < 4e-2
    difference = np.abs(_protect(image, mask, noise[0]).astype(int) - png("a_truck_protected").astype(int))
    assert difference.max() == 1
    assert (difference > 0).mean() < 0.02


@pytest.mark.slow
def test_encoder_output_and_early_feature(generator: Generator, encoded: EncodedImages) -> None:
    assert np.abs(encoded.embedding.numpy() - array("b_gradient_encoder_out")).max() < NOISE_TOLERANCE
    image = parts.normalise(network_input(png("b_gradient_image"), 1024)[None])
    with torch.no_grad():
        _, early = generator_module.run_encoder(generator.image_encoder, image, VIT_B.global_blocks[0])
    early_BYXC = early.permute(0, 2, 3, 1)[:, ::4, ::4].numpy()
    assert np.abs(early_BYXC - array("b_gradient_early_feature_stride4")).max() < NOISE_TOLERANCE


@pytest.mark.slow
def test_several_masks_share_an_encoder_pass(generator: Generator, encoded: EncodedImages) -> None:
    both = torch.cat([_prompt_of("c_portrait").masks, _prompt_of("b_gradient").masks])  # type: ignore[list-item]
    prompts = Prompts(image=torch.zeros(2, dtype=torch.long), row=torch.arange(2), masks=both)
    with torch.no_grad():
        noise = generator.decode(encoded, prompts)
    assert _noise_error("b_gradient", noise[1:]) < NOISE_TOLERANCE


# --- mistakes that the numbers above must notice ---------------------------------------------------------------------


@pytest.mark.slow
def test_notices_noise_rows_5_to_7(
    generator: Generator, encoded: EncodedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator_module, "FIRST_NOISE_ROW", 5)
    with torch.no_grad():
        assert _noise_error("b_gradient", generator.decode(encoded, _prompt_of("b_gradient"))) > NOISE_TOLERANCE


@pytest.mark.slow
def test_notices_a_mask_prompt_of_logits(generator: Generator, encoded: EncodedImages) -> None:
    logits = (mask_prompt(png("b_gradient_mask") > 127, 256)[None] > 0).float() * 20.0 - 10.0
    with torch.no_grad():
        assert _noise_error("b_gradient", generator.decode(encoded, _mask_prompts(logits))) > NOISE_TOLERANCE


def _tanh_gelu(module: nn.Module) -> None:
    if isinstance(module, nn.GELU):
        module.approximate = "tanh"


def _larger_epsilon(module: nn.Module) -> None:
    if isinstance(module, LayerNorm2d):
        module.eps = 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("mistake", [_tanh_gelu, _larger_epsilon])
def test_notices_mistakes_in_the_layers(mistake: Callable[[nn.Module], None]) -> None:
    network = Generator(size=VIT_B).eval()
    fill_by_rule(network)
    network.apply(mistake)
    with torch.no_grad():
        noise = network(network_input(png("b_gradient_image"), 1024)[None], [_prompt_of("b_gradient")])
    assert _noise_error("b_gradient", noise) > NOISE_TOLERANCE


@pytest.mark.slow
def test_notices_padding_after_normalisation(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    def padded_later(image_BCHW: Tensor) -> Tensor:
        normalised = parts.normalise(image_BCHW)
        normalised[:, :, 768:] = 0.0
        return normalised

    monkeypatch.setattr(generator_module, "normalise", padded_later)
    with torch.no_grad():
        noise = generator(network_input(png("b_gradient_image"), 1024)[None], [_prompt_of("b_gradient")])
    assert _noise_error("b_gradient", noise) > NOISE_TOLERANCE


@pytest.mark.slow
def test_notices_antialiased_resizing(generator: Generator) -> None:
    square = torch.from_numpy(png("a_truck_image").copy()).permute(2, 0, 1)[None].float()
    square = F.pad(square, (0, 0, 0, 600))
    image = F.interpolate(square, size=(1024, 1024), mode="bilinear", antialias=True) / 255.0
    with torch.no_grad():
        noise = generator(image, [_prompt_of("a_truck")])
    assert _noise_error("a_truck", noise) > NOISE_TOLERANCE


# --- the surrogate ---------------------------------------------------------------------------------------------------

SURROGATE_CASES = [
    (image, kinds)
    for image in ("s0", "s1", "s2")
    for kinds in ("box", "points", "mask", "all")
    if (image, kinds) not in {("s2", "mask"), ("s2", "all")}
]


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    network = Surrogate(size=VIT_B).eval()
    fill_by_rule(network)
    return network


def _surrogate_prompts(kinds: str) -> Prompts:
    def given(kind: str, value: Tensor) -> Tensor | None:
        return value if kinds in (kind, "all") else None

    return Prompts(
        image=FIRST,
        row=FIRST,
        boxes=given("box", torch.from_numpy(array("s_prompts_box")).reshape(1, 4).float()),
        points=given("points", torch.from_numpy(array("s_prompts_points")).float()),
        masks=given("mask", torch.from_numpy(png("s1_maskprompt128").astype(np.float32))[None, None]),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("image", "kinds"), SURROGATE_CASES)
def test_surrogate_logits(surrogate: Surrogate, image: str, kinds: str) -> None:
    with torch.no_grad():
        logits = surrogate(_picture(f"{image}_image512"), [_surrogate_prompts(kinds)])
    assert np.abs(logits.numpy() - array(f"{image}_logits_{kinds}")).max() < 2e-5


@pytest.mark.slow
def test_surrogate_encoder_and_noised_logits(surrogate: Surrogate) -> None:
    image = parts.normalise(_picture("s0_image512"))
    with torch.no_grad():
        embedding, _ = generator_module.run_encoder(surrogate.image_encoder, image, -1)
        label = resize_bilinear(torch.from_numpy(png("s_label1024").copy()).float()[None], 512)[None] / 255.0
        noise = torch.from_numpy(array("b_gradient_noise"))
        noised = surrogate_input(_picture("s0_image512"), noise, label, epsilon=8, epsilon_bg=2)
        logits = surrogate(noised, [_surrogate_prompts("box")])
    assert np.abs(embedding.numpy() - array("s0_encoder_out")).max() < NOISE_TOLERANCE
    assert np.abs(logits.numpy() - array("s0_noised_logits_box")).max() < 2e-5


# --- the training steps ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batch() -> Batch:
    images = torch.cat([_picture(f"train{i}_image1024") for i in range(2)])
    labels = torch.stack([torch.from_numpy(png(f"train{i}_label1024").copy())[None] for i in range(2)]).float() / 255.0

    def halved(image: Tensor) -> Tensor:
        return F.interpolate(image, scale_factor=0.5, mode="bilinear", align_corners=False)

    with np.load(GOLDEN / "train_prompts.npz") as arrays:
        given = {name: torch.from_numpy(arrays[name]) for name in arrays}
    assert torch.allclose(halved(labels), given["resized_labels"] / 255.0, atol=1e-6)
    second = torch.ones(1, dtype=torch.long)
    return Batch(
        image=images,
        image_half=halved(images),
        label_half=halved(labels),
        generator_prompts=[
            Prompts(image=FIRST, row=FIRST, boxes=given["gen0_box"], masks=given["gen0_mask256"]),
            Prompts(image=second, row=second, points=given["gen1_points"]),
        ],
        surrogate_prompts=[
            Prompts(image=FIRST, row=FIRST, boxes=given["sur0_box"]),
            Prompts(image=second, row=second, masks=given["sur1_mask128"]),
        ],
        candidates=torch.empty(2, 0, 2),
        uniform=torch.empty(2, 0, 2),
    )


def _grid() -> Tensor:
    """Centres of 112 x 112 cells as (x, y) in [0, 1], for two samples."""
    centres = (torch.arange(112) + 0.5) / 112
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(1, -1, 2).expand(2, -1, -1)


STEPS = {
    "surrogate": (1.0, 0.25, "train_epoch0_eps1_logits", [1.348751545, 1.317769408, 1.292153001], 0.333351746),
    "generator": (1.0, 0.25, "train_epoch1_eps1_logits", [1.035358191, 1.035280108, 1.035218954], 0.0012191794),
    "generator at 8": (8.0, 2.0, "train_epoch1_eps8_logits", [1.035086751, 1.034463406], 0.00911957514),
}
GRADIENTS = {
    "surrogate": {
        "image_encoder.pos_embed": 0.000251888269,
        "image_encoder.blocks.0.attn.qkv.weight": 0.0212217063,
        "image_encoder.blocks.11.attn.rel_pos_h": 0.000191011443,
        "image_encoder.neck.0.weight": 0.0518325852,
        "mask_decoder.mask_tokens.weight": 0.00278027651,
        "mask_decoder.output_upscaling.0.weight": 0.0529972746,
        "prompt_encoder.mask_downscaling.0.weight": 0.00528346641,
    },
    "generator": {
        "mask_decoder.noise_token.weight": 8.96986896e-06,
        "mask_decoder.noise_mlp.0.layers.2.weight": 0.000265449685,
        "mask_decoder.noise_mlp.2.layers.0.weight": 0.000275485533,
        "mask_decoder.noise_compress_vit_feat.0.weight": 0.000216098015,
        "mask_decoder.noise_embedding_encoder.0.weight": 0.00012616305,
        "mask_decoder.noise_embedding_maskfeature.3.weight": 0.000481994417,
    },
    "generator at 8": {
        "mask_decoder.noise_token.weight": 6.96146641e-05,
        "mask_decoder.noise_mlp.0.layers.2.weight": 0.00178474995,
        "mask_decoder.noise_mlp.2.layers.0.weight": 0.00220515245,
        "mask_decoder.noise_compress_vit_feat.0.weight": 0.00165899629,
        "mask_decoder.noise_embedding_encoder.0.weight": 0.000971179555,
        "mask_decoder.noise_embedding_maskfeature.3.weight": 0.00350269153,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("case", STEPS)
def test_training_steps(batch: Batch, case: str) -> None:
    epsilon, epsilon_bg, logits_name, losses, norm = STEPS[case]
    phase: Phase = "surrogate" if case == "surrogate" else "generator"
    params = TrainParams(epsilon=epsilon, epsilon_bg=epsilon_bg)
    generator, surrogate = Generator(size=VIT_B), Surrogate(size=VIT_B)
    fill_by_rule(generator)
    fill_by_rule(surrogate)
    players = make_players(generator, surrogate, params, torch.device("cpu"))
    freeze(players, phase, params)
    trained = players.surrogate if phase == "surrogate" else players.generator
    for step, expected in enumerate(losses):
        logits, target = forward_logits(generator, surrogate, batch, phase, params)
        loss = torch.stack(point_losses(logits, target, _grid())).sum()
        assert loss.item() == pytest.approx(expected, rel=1e-3 if step else 1e-6)
        if step + 1 == len(losses):
            break
        players.optimiser(phase).zero_grad(set_to_none=True)
        loss.backward()
        if step == 0:
            assert np.abs(logits.detach().numpy() - array(logits_name)).max() < 2e-5
            gradients = {name: p.grad for name, p in trained.named_parameters() if p.grad is not None}
            assert torch.stack([g.norm() for g in gradients.values()]).norm().item() == pytest.approx(norm, rel=1e-3)
            for name, expected_norm in GRADIENTS[case].items():
                assert gradients[name].norm().item() == pytest.approx(expected_norm, rel=2e-3)
        players.optimiser(phase).step()
