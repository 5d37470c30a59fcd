"""Our ways of running SAM's encoder against its own `forward`, and the copies of weights that bfloat16 works with."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from unseg_core.device import autocast
from unseg_core.model import attention, cast, encoder_inference
from unseg_core.model.encoder import Execution, run_encoder
from unseg_core.model.parts import build_image_encoder
from unseg_core.model.sizes import TINY

CPU = torch.device("cpu")


def _encoder(window: int) -> ImageEncoderViT:
    """A small encoder whose every parameter matters, the relative positions too, which start as zeros."""
    torch.manual_seed(0)
    encoder = build_image_encoder(dataclasses.replace(TINY, window_size=window), TINY.input_size).eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.1)
    return encoder


def _images() -> Tensor:
    return torch.randn(2, 3, TINY.input_size, TINY.input_size, generator=torch.Generator().manual_seed(1))


# 12 cells a side: windows that fit, windows that need padding on the last, windows with one cell in the last.
@pytest.mark.parametrize("window", [6, 5, 11])
@pytest.mark.parametrize("gradients", [False, True])
def test_encoder_equals_the_one_of_segment_anything(window: int, gradients: bool) -> None:
    encoder, images = _encoder(window), _images()
    with torch.no_grad():
        expected = encoder(images)
    with torch.set_grad_enabled(gradients):
        embedding, _ = run_encoder(encoder, images, 1)
    assert embedding.requires_grad == gradients
    assert (embedding - expected).abs().max() < 1e-5


def test_early_feature_is_not_overwritten_by_later_blocks() -> None:
    encoder, images = _encoder(5), _images()
    with torch.no_grad():
        early = run_encoder(encoder, images, 1)[1]
        expected = encoder.patch_embed(images) + encoder.pos_embed
        for block in encoder.blocks[:2]:
            expected = block(expected)
    assert (early.permute(0, 2, 3, 1) - expected).abs().max() < 1e-5


def test_few_queries_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, images = _encoder(5), _images()
    with torch.no_grad():
        whole = run_encoder(encoder, images, 1)[0]
        monkeypatch.setattr(attention, "CHUNK_VALUES", 7 * 144)
        monkeypatch.setitem(encoder_inference.ROWS, torch.float32, 10)
        assert (run_encoder(encoder, images, 1)[0] - whole).abs().max() < 1e-5


@pytest.mark.parametrize("gradients", [False, True])
def test_bf16_is_near_float32_and_is_not_float32(gradients: bool) -> None:
    encoder, images = _encoder(5), _images()
    with torch.no_grad():
        expected = encoder(images)
    with torch.set_grad_enabled(gradients), autocast(CPU, "bf16"):
        difference = (run_encoder(encoder, images, 1)[0].float() - expected).abs()
    assert 1e-4 < difference.max() < 0.1
    assert difference.mean() < 0.02


def test_recomputing_blocks_gives_the_same_gradients() -> None:
    encoder, images = _encoder(5), _images()
    gradients = []
    for how in (Execution(), Execution(recompute_blocks=True)):
        encoder.zero_grad()
        run_encoder(encoder, images, 1, how)[0].square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 7), (128, 196), (64, 4096)])
def test_softmax_may_overwrite_its_input(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """Attention on a CPU relies on it, and torch does not promise it."""
    scores = (torch.randn(shape, generator=torch.Generator().manual_seed(2)) * 5).to(dtype)
    expected = torch.softmax(scores, dim=-1)
    torch.softmax(scores, dim=-1, out=scores)
    assert torch.equal(scores, expected)


def _changed_by_an_optimiser(layer: nn.Linear) -> None:
    layer(torch.ones(1, 4)).sum().backward()
    torch.optim.SGD(layer.parameters(), lr=1.0).step()


def _changed_by_loading(layer: nn.Linear) -> None:
    layer.load_state_dict({name: value + 1.0 for name, value in layer.state_dict().items()})


def _changed_by_assignment(layer: nn.Linear) -> None:
    layer.weight.data = layer.weight.data + 1.0


@pytest.mark.parametrize("change", [_changed_by_an_optimiser, _changed_by_loading, _changed_by_assignment])
def test_bf16_copies_follow_their_weights(change: object) -> None:
    layer, ones = nn.Linear(4, 3), torch.ones(2, 4, dtype=torch.bfloat16)
    with torch.no_grad():
        before = cast.linear(layer, ones)
        assert cast.cast(layer.weight, torch.bfloat16) is cast.cast(layer.weight, torch.bfloat16)
    change(layer)  # type: ignore[operator]
    with torch.inference_mode():
        after, expected = cast.linear(layer, ones), layer.bfloat16()(ones)
    assert not torch.equal(after, before)
    assert (after - expected).abs().max() < 0.05


@pytest.mark.parametrize("training", [False, True])
def test_bf16_copies_are_kept_for_inference_only(training: bool) -> None:
    encoder, images = _encoder(5).train(training), _images()
    with torch.no_grad(), autocast(CPU, "bf16"):
        run_encoder(encoder, images, 1)
    weights = [layer.weight for layer in encoder.blocks.modules() if isinstance(layer, nn.Linear)]
    assert [weight in cast._CAST or weight in cast._PACKED for weight in weights] == [not training] * len(weights)
