"""The contract of the defences: each is parsed, trains a model, and does to the images what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unseg_core.errors import ParameterError
from unseg_core.evaluate.batch import Batch
from unseg_core.evaluate.defences import DEFENCES, defend, parse_defences
from unseg_core.evaluate.defences.adversarial import attacked
from unseg_core.evaluate.defences.pixels import pixels_of
from unseg_core.evaluate.models import build_model
from unseg_core.evaluate.models.semantic import SemanticModel
from unseg_core.model.parts import normalise
from unseg_core.params import EvaluateParams

SIDE = 64
RECIPE = EvaluateParams(encoder="mobilenet_v2", decoder_channels=(16, 16, 8), size=SIDE, batch_size=2)
SQUEEZING = [name for name, one in DEFENCES.items() if one.transform is not None]


@pytest.fixture
def pixels() -> Tensor:
    """Smooth colours with a little fine noise, [4, 3, 64, 64] in [0.2, 0.8]."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(4, 3, 4, 4, generator=generator) * 0.5 + 0.25
    smooth = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")
    return smooth + (torch.rand(4, 3, SIDE, SIDE, generator=generator) - 0.5) * 0.1


@pytest.fixture
def batch(pixels: Tensor) -> Batch:
    labels = (pixels.mean(1) > 0.5).long()
    labels[:, :4] = 255
    return Batch(images=normalise(pixels), labels=labels)


@pytest.mark.parametrize("name", list(DEFENCES))
def test_contract(name: str, batch: Batch) -> None:
    torch.manual_seed(0)
    model = build_model(RECIPE, 1)
    plain = defend(model, RECIPE)
    defended = defend(model, replace(RECIPE, defences=(name,)))
    model.train()
    loss = defended.loss(batch)
    assert loss.ndim == 0
    assert loss.isfinite()
    assert model.training
    loss.backward()
    given = [one for one in model.parameters() if one.grad is not None]  # some of the encoder is not in use
    assert sum(one.numel() for one in given) > 80_000
    assert all(bool(one.grad.isfinite().all()) for one in given if one.grad is not None)
    assert all(one.grad is not None for one in defended.parameters())
    defended.eval()
    assert not model.training
    with torch.inference_mode():
        predicted = defended.predict(batch)
        assert predicted.shape == batch.labels.shape  # type: ignore[union-attr]
        same = torch.equal(predicted, plain.predict(batch))
    if not DEFENCES[name].at_test:
        assert same


@pytest.mark.parametrize("name", SQUEEZING)
def test_transforms_change_pixels_but_not_the_picture(name: str, pixels: Tensor) -> None:
    one = DEFENCES[name]
    assert one.transform is not None
    torch.manual_seed(0)
    changed = one.transform(one.default)(pixels)
    assert changed.shape == pixels.shape
    assert not torch.equal(changed, pixels)
    assert (changed - pixels).abs().mean() < 0.2


def test_values_are_what_they_say(pixels: Tensor) -> None:
    def changed(text: str) -> Tensor:
        ((_, one, value),) = parse_defences([text])
        assert one.transform is not None
        return one.transform(value)(pixels)

    torch.manual_seed(0)
    assert len(changed("bits:2").unique()) <= 4
    grey = changed("grey")
    assert torch.equal(grey[:, 0], grey[:, 2])
    assert torch.allclose(grey[:, 0], 0.299 * pixels[:, 0] + 0.587 * pixels[:, 1] + 0.114 * pixels[:, 2])
    assert (changed("noise:16") - pixels).std() == pytest.approx(16 / 255, rel=0.05)
    assert torch.allclose(changed("resize:1"), pixels, atol=1e-6)
    worse, better = ((changed(f"jpeg:{quality}") - pixels).abs().mean() for quality in (10, 95))
    assert worse > 1.5 * better


def test_bandstop_takes_one_octave() -> None:
    stop = DEFENCES["bandstop"].transform
    assert stop is not None
    across = torch.arange(64) / 64
    waves = {
        cycles: 0.5 + 0.1 * torch.sin(2 * torch.pi * cycles * across).expand(1, 3, 64, 64) for cycles in (8, 12, 18)
    }
    left = {cycles: (stop(12.0)(wave) - 0.5).abs().max() for cycles, wave in waves.items()}
    assert left[12] < 1e-6
    assert min(left[8], left[18]) > 0.09


def test_gaussian_leaves_constants_and_averages_noise() -> None:
    smooth = DEFENCES["gaussian"].transform
    assert smooth is not None
    assert torch.allclose(smooth(2.0)(torch.full((1, 3, 16, 16), 0.3)), torch.tensor(0.3), atol=1e-6)
    independent = torch.randn(1, 3, 200, 200, generator=torch.Generator().manual_seed(0))
    # Sum of the squares of a Gaussian's values: 1 / (4 pi) at sigma 1.
    assert smooth(1.0)(independent).var() == pytest.approx(1 / (4 * torch.pi), rel=0.1)


def test_transforms_come_in_their_order(batch: Batch) -> None:
    torch.manual_seed(0)
    model = build_model(RECIPE, 1)
    seen: list[Tensor] = []
    model.loss = lambda given: seen.append(given.images) or torch.zeros(())  # type: ignore[assignment, func-returns-value]
    for order in (("grey", "bits:1"), ("bits:1", "grey")):
        defend(model, replace(RECIPE, defences=order)).loss(batch)
    first, second = (pixels_of(images) for images in seen)
    assert set(first.round(decimals=3).unique().tolist()) == {0.0, 1.0}
    assert len(second.round(decimals=3).unique()) > 2


def test_attack_raises_the_loss_within_its_budget(batch: Batch) -> None:
    torch.manual_seed(0)
    model = build_model(RECIPE, 1)
    model.eval()
    other = attacked(model, batch, 8)
    assert model.loss(other) > model.loss(batch) * 1.01
    distance = (pixels_of(other.images) - pixels_of(batch.images)).abs().max()
    assert 7.9 / 255 < distance < 8.1 / 255
    assert torch.equal(attacked(model, batch, 0).images, batch.images)


def test_divided_training_keeps_its_branches_beside_the_model(batch: Batch) -> None:
    torch.manual_seed(0)
    model = build_model(RECIPE, 1)
    before = set(model.state_dict())
    defended = defend(model, replace(RECIPE, defences=("ddc-at:4",)))
    assert set(model.state_dict()) == before
    shapes = {name: tuple(p.shape) for name, p in defended.named_parameters()}
    assert shapes["rule.auxiliary.0.bias"] == (2,)
    assert shapes["rule.division.0.bias"] == (2,)
    assert isinstance(model, SemanticModel)
    optimiser = torch.optim.Adam([*model.parameters(), *defended.parameters()], lr=3e-3)
    losses = []
    for _ in range(12):
        loss = defended.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_mistakes_are_named() -> None:
    for texts, message in (
        (("magic",), "'magic' is unknown; choose of gaussian"),
        (("jpeg:high",), "'jpeg:high' has no number"),
        (("jpeg:101",), "jpeg is 101; give a value from 1 to 100"),
        (("adversarial", "ddc-at"), "cannot be combined"),
    ):
        with pytest.raises(ParameterError, match=message):
            parse_defences(texts)
    detector = build_model(EvaluateParams(model="dino", task="detection", encoder="resnet50", width="tiny", size=64), 2)
    with pytest.raises(ParameterError, match="ddc-at is for deeplabv1"):
        defend(detector, EvaluateParams(defences=("ddc-at",)))
