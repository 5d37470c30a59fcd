"""What stands between generator and surrogate in training: drawn by the sample's seed, and open to gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_train import PARAMS, Watch, players, run_of, samples_of

from unseg_core.device import Precision
from unseg_core.model.sizes import TINY
from unseg_core.params import TrainParams
from unseg_core.train.dataset import TrainDataset, TrainSample, ViewDataset
from unseg_core.train.degrade import DEGRADATIONS, DrawnDegradation, degrade, draw_degradations
from unseg_core.train.loop import freeze, train
from unseg_core.train.step import collate, forward_step

ALL = replace(PARAMS, degradations=tuple(DEGRADATIONS), surrogate_prompt="whole", label_modification=False)


def held(root: Path, params: TrainParams) -> list[TrainSample]:
    dataset = TrainDataset(samples_of(root), TINY, params)
    return [sample for i in range(len(dataset)) if isinstance(sample := dataset[0, i], TrainSample)]


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_each_changes_the_image_alone_and_lets_gradients_through(name: str) -> None:
    one = DEGRADATIONS[name]
    drawn = DrawnDegradation(name=name, strength=(one.low + one.high) / 2, seed=3)
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    result = degrade(image, [(drawn,), ()])
    assert result.shape == image.shape
    assert not torch.equal(result[0], image[0])
    assert torch.equal(result[1], image[1])
    assert torch.equal(result, degrade(image, [(drawn,), ()]))
    result[0].sum().backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None
    assert image.grad[0].abs().sum() > 0
    assert not image.grad[1].any()


def test_half_of_the_samples_get_each_and_strengths_span_the_range() -> None:
    drawn = [draw_degradations(("noise", "blur"), np.random.default_rng(seed)) for seed in range(400)]
    assert {one.name for draws in drawn for one in draws} == {"blur", "noise"}
    for name in ("blur", "noise"):
        strengths = [one.strength for draws in drawn for one in draws if one.name == name]
        low, high = DEGRADATIONS[name].low, DEGRADATIONS[name].high
        assert 150 < len(strengths) < 250
        assert low <= min(strengths) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(strengths) <= high


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_they_follow_the_seed_and_reach_the_loss_of_both_phases(tmp_path: Path, precision: Precision) -> None:
    degraded, plain = held(tmp_path, ALL), held(tmp_path, replace(ALL, degradations=()))
    assert [one.degradations for one in degraded] == [one.degradations for one in held(tmp_path, ALL)]
    assert any(one.degradations for one in degraded)
    assert not any(one.degradations for one in plain)
    both = players(ALL)
    for phase in ("surrogate", "generator"):
        freeze(both, phase, ALL)
        losses = [
            forward_step(both.generator, both.surrogate, collate(one), phase, ALL, precision).loss.item()
            for one in (plain, degraded)
        ]
        assert losses[0] != losses[1]


def test_the_surrogate_is_not_told_the_place(tmp_path: Path) -> None:
    """In training and in validation."""
    side = TINY.surrogate_input_size - 1
    viewed = ViewDataset(samples_of(tmp_path), TINY, ALL)[0]
    assert isinstance(viewed, TrainSample)
    assert viewed.generator_prompts.box.tolist() != [0, 0, 2 * side + 1, 2 * side + 1]
    for sample in [viewed, *held(tmp_path, ALL)]:
        assert sample.surrogate_kinds == {"box"}
        assert sample.surrogate_prompts.box.tolist() == [0, 0, side, side]


def test_a_training_with_degradations_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    samples, params = samples_of(tmp_path / "data"), replace(ALL, epochs=2)
    first, second = players(params), players(params)
    train(run_of(samples, tmp_path / "a", params, players=first))
    watch = Watch(stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        train(run_of(samples, tmp_path / "b", params, players=players(params), observer=watch, stop=watch.stop))
    train(run_of(samples, tmp_path / "b", params, players=second))
    for name, value in first.generator.state_dict().items():
        assert torch.equal(value, second.generator.state_dict()[name]), name
