"""Training: only the phase's player moves, resumed runs equal uninterrupted ones, damaged data is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_pairs
from hypothesis import given
from hypothesis import strategies as st

from unseg_core.data.layouts import open_layout
from unseg_core.errors import DataError, TrainingError
from unseg_core.model.generator import Generator
from unseg_core.model.sizes import TINY
from unseg_core.model.surrogate import Surrogate
from unseg_core.model.weights import initialise
from unseg_core.params import TrainParams
from unseg_core.train.augment import augment
from unseg_core.train.dataset import TrainDataset, make_sample, usable_samples
from unseg_core.train.health import check_health
from unseg_core.train.loop import EpochRecord, Players, make_players, train
from unseg_core.train.step import phase_of

CPU = torch.device("cpu")
PARAMS = TrainParams(epochs=3, surrogate_every=2, batch_size=3, learning_rate=1e-3, points=64, epsilon=8, epsilon_bg=2)


def players(params: TrainParams = PARAMS) -> Players:
    return make_players(initialise(Generator, TINY, 0), initialise(Surrogate, TINY, 1), params, CPU)


def samples_of(root: Path, count: int = 5) -> list:  # type: ignore[type-arg]
    write_pairs(root, count, np.random.default_rng(0), side=64)
    return usable_samples([open_layout("folder", str(root))])


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def moved(before: dict[str, torch.Tensor], network: torch.nn.Module) -> set[str]:
    return {name for name, value in network.state_dict().items() if not torch.equal(before[name], value)}


def test_phases_alternate_as_published() -> None:
    assert [epoch for epoch in range(27) if phase_of(epoch, 4) == "surrogate"] == [0, 4, 8, 12, 16, 20, 24]


@pytest.mark.parametrize("train_sam", [False, True])
def test_only_the_phase_s_player_moves(tmp_path: Path, train_sam: bool) -> None:
    samples = samples_of(tmp_path / "data")
    params = replace(PARAMS, epochs=1, train_sam=train_sam)
    both = players(params)
    generator, surrogate = weights(both.generator), weights(both.surrogate)
    train(both, samples, params, tmp_path / "work")
    assert not moved(generator, both.generator)
    assert moved(surrogate, both.surrogate)
    surrogate = weights(both.surrogate)
    train(both, samples, replace(params, epochs=2), _continued(tmp_path, both, params))
    assert not moved(surrogate, both.surrogate)
    changed = moved(generator, both.generator)
    assert {name for name in changed if "noise" in name}
    assert any("noise" not in name for name in changed) == train_sam


def _continued(tmp_path: Path, both: Players, params: TrainParams) -> Path:
    """A work folder whose checkpoint says that epoch 0 is done under the longer schedule."""
    from unseg_core.train.checkpoint import save_checkpoint

    record = {"epoch": 0, "phase": "surrogate", "loss": 1.0, "loss_bce": 0.5, "loss_dice": 0.5, "learning_rate": 1e-3}
    save_checkpoint(tmp_path / "longer", both, replace(params, epochs=2), [record])
    return tmp_path / "longer"


class KilledError(Exception):
    pass


def test_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data")
    whole = players()
    records = train(whole, samples, PARAMS, tmp_path / "whole")

    def kill(record: EpochRecord) -> None:
        if record.epoch == 1:
            raise KilledError

    with pytest.raises(KilledError):
        train(players(), samples, PARAMS, tmp_path / "cut", on_epoch=kill)
    resumed = players()
    assert train(resumed, samples, PARAMS, tmp_path / "cut") == records
    assert not moved(weights(whole.generator), resumed.generator)
    assert not moved(weights(whole.surrogate), resumed.surrogate)


def test_checkpoint_of_other_parameters_is_refused(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data", 3)
    train(players(), samples, replace(PARAMS, epochs=1), tmp_path / "work")
    with pytest.raises(TrainingError, match="other parameters"):
        train(players(), samples, PARAMS, tmp_path / "work")


def test_loss_that_is_not_finite_stops(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data", 3)
    broken = players()
    with torch.no_grad():
        broken.surrogate.mask_decoder.mask_tokens.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"loss is nan in epoch 0"):
        train(broken, samples, PARAMS, tmp_path / "work")


def test_damaged_image_is_named(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data", 3)
    (tmp_path / "data" / "images" / "photo 01.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"photo 01.png"):
        train(players(), samples, PARAMS, tmp_path / "work")


def test_surrogate_learns_to_read_the_object(tmp_path: Path) -> None:
    """Surrogate epochs alone fit a handful of images: loss, targets and prompts belong together."""
    samples = samples_of(tmp_path / "data", 6)
    params = replace(PARAMS, epochs=31, surrogate_every=1_000, scale_min=1.0, scale_max=1.0)
    both = players(params)
    dataset = TrainDataset(samples, TINY, params)
    batch = [dataset[i] for i in range(len(dataset))]
    before = check_health(both.generator, both.surrogate, batch, params).surrogate_iou_noised
    for _ in range(25):
        train(both, samples, replace(params, epochs=1), tmp_path / "work")
        (tmp_path / "work" / "checkpoint.pt").unlink()
    after = check_health(both.generator, both.surrogate, batch, params).surrogate_iou_noised
    assert after > before + 0.2


@given(height=st.integers(1, 50), width=st.integers(1, 50), seed=st.integers(0, 2**32 - 1))
def test_augmentation_keeps_image_and_label_together(height: int, width: int, seed: int) -> None:
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    label = (image[:1] > 127).to(torch.uint8) * 255
    image[:] = label
    rng = np.random.Generator(np.random.PCG64(seed))
    view, soft = augment(image, label, rng, size=32, scale_min=0.1, scale_max=2.0)
    assert view.shape == (3, 32, 32)
    assert torch.allclose(view[:1], soft, atol=1e-6)
    assert view.min() >= 0.0
    assert view.max() <= 1.0 + 1e-6


@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_tiny_and_empty_objects_give_usable_prompts(pixels: int, rng: np.random.Generator) -> None:
    image, label = torch.zeros(3, 40, 30, dtype=torch.uint8), torch.zeros(1, 40, 30, dtype=torch.uint8)
    label[0, 20, 10 : 10 + pixels] = 255
    sample = make_sample(image, label, rng, TINY, PARAMS)
    assert sample.generator_prompts.points.shape == (10, 2)
    x0, y0, x1, y1 = sample.generator_prompts.box.tolist()
    assert 0 <= x0 <= x1 < TINY.input_size
    assert 0 <= y0 <= y1 < TINY.input_size
