"""Training: only the phase's player moves, resumed runs equal uninterrupted ones, unusable data is counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_pairs
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open

from unseg_core.data.layouts import open_layout
from unseg_core.errors import TrainingError
from unseg_core.model.generator import Generator
from unseg_core.model.sizes import TINY, Size
from unseg_core.model.surrogate import Surrogate
from unseg_core.model.weights import initialise
from unseg_core.params import TrainParams
from unseg_core.train.augment import augment
from unseg_core.train.checkpoint import PATTERN
from unseg_core.train.dataset import SkippedSample, TrainDataset, TrainSample, TrainSource, list_samples, make_sample
from unseg_core.train.health import check_health
from unseg_core.train.loop import Interrupted, Players, Run, StepReport, freeze, make_players, train
from unseg_core.train.records import EpochRecord
from unseg_core.train.schedule import Schedule, phase_of
from unseg_core.train.step import collate, forward_step
from unseg_core.train.validate import ValidationSet, validate

CPU = torch.device("cpu")
PARAMS = TrainParams(epochs=3, surrogate_every=2, batch_size=3, learning_rate=1e-3, points=64, epsilon=8, epsilon_bg=2)


SHALLOW = replace(TINY, depth=2, global_blocks=(1,))
"""A block of either kind, for what has to be compiled."""


def players(params: TrainParams = PARAMS, size: Size = TINY) -> Players:
    return make_players(initialise(Generator, size, 0), initialise(Surrogate, size, 1), params, CPU)


def samples_of(root: Path, count: int = 5) -> list:  # type: ignore[type-arg]
    write_pairs(root, count, np.random.default_rng(0), side=64)
    return list_samples([TrainSource(name="made", layout=open_layout("folder", str(root)))])


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def moved(before: dict[str, torch.Tensor], network: torch.nn.Module) -> set[str]:
    return {name for name, value in network.state_dict().items() if not torch.equal(before[name], value)}


class Watch:
    """An observer that keeps what it is told, and asks to stop after a step."""

    def __init__(self, stop_after: int = -1) -> None:
        self.steps: list[StepReport] = []
        self.records: list[EpochRecord] = []
        self.stop_after = stop_after

    def step(self, report: StepReport) -> None:
        self.steps.append(report)

    def epoch(self, record: EpochRecord, panel_png: bytes) -> None:
        assert panel_png.startswith(b"\x89PNG")
        self.records.append(record)

    def stop(self) -> bool:
        return len(self.steps) + 1 == self.stop_after  # asked before the step is reported


def run_of(samples: list, work: Path, params: TrainParams = PARAMS, **options) -> Run:  # type: ignore[type-arg, no-untyped-def]
    chosen = {"players": players(params), "samples": samples, "params": params, "work": work, **options}
    return Run(**chosen)


def test_phases_alternate_as_published() -> None:
    assert [epoch for epoch in range(27) if phase_of(epoch, 4) == "surrogate"] == [0, 4, 8, 12, 16, 20, 24]


@given(
    samples=st.integers(1, 40),
    batch=st.integers(1, 9),
    micro=st.integers(0, 4),
    processes=st.integers(1, 5),
    first=st.integers(0, 20),
)
def test_schedule_gives_every_sample_to_one_process_once(
    samples: int, batch: int, micro: int, processes: int, first: int
) -> None:
    schedule = Schedule(samples=samples, params=TrainParams(epochs=3, batch_size=batch, micro_batch=micro, seed=4))
    first = min(first, schedule.steps - 1)
    parts = [iter(schedule.parts(first, process, processes)) for process in range(processes)]
    seen: list[tuple[int, int]] = []
    for step in range(first, schedule.steps):
        together = []
        for process in range(processes):
            mine = [next(parts[process]) for _ in range(schedule.part_count(step, process, processes))]
            assert all(len(part) <= micro for part in mine) or not micro
            together += [draw for part in mine for draw in part]
        assert len(together) <= batch
        seen += together
    assert all(next(rest, None) is None for rest in parts)
    alone = Schedule(samples=samples, params=TrainParams(epochs=3, batch_size=batch, seed=4))
    assert seen == [draw for part in alone.parts(first, 0, 1) for draw in part]
    assert len(set(seen)) == len(seen)
    whole = 3 * samples - (first // schedule.steps_per_epoch * samples + first % schedule.steps_per_epoch * batch)
    assert len(seen) == whole


@pytest.mark.parametrize("train_sam", [False, True])
def test_only_the_phase_s_player_moves(tmp_path: Path, train_sam: bool) -> None:
    samples = samples_of(tmp_path / "data")
    params = replace(PARAMS, epochs=2, train_sam=train_sam)
    both = players(params)
    generator, surrogate = weights(both.generator), weights(both.surrogate)
    with pytest.raises(Interrupted):  # after the first epoch's two steps
        train(run_of(samples, tmp_path / "work", params, players=both, observer=(w := Watch(2)), stop=w.stop))
    assert not moved(generator, both.generator)
    assert moved(surrogate, both.surrogate)
    surrogate = weights(both.surrogate)
    train(run_of(samples, tmp_path / "work", params, players=both))
    assert not moved(surrogate, both.surrogate)
    changed = moved(generator, both.generator)
    assert {name for name in changed if "noise" in name}
    assert any("noise" not in name for name in changed) == train_sam


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5])
def test_interrupted_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path, stop_after: int) -> None:
    samples = samples_of(tmp_path / "data")
    whole = run_of(samples, tmp_path / "whole", observer=(watched := Watch()))
    expected = train(whole)
    first = Watch(stop_after)
    with pytest.raises(Interrupted):
        train(run_of(samples, tmp_path / "cut", observer=first, stop=first.stop))
    second = run_of(samples, tmp_path / "cut", observer=(rest := Watch()))
    assert train(second).records == expected.records
    assert [s.loss for s in first.steps + rest.steps] == [s.loss for s in watched.steps]
    assert not moved(weights(whole.players.generator), second.players.generator)
    assert not moved(weights(whole.players.surrogate), second.players.surrogate)


def test_loader_processes_and_parts_change_nothing(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data")
    alone, workers, parts = Watch(), Watch(), Watch()
    train(run_of(samples, tmp_path / "a", observer=alone))
    train(run_of(samples, tmp_path / "b", observer=workers, workers=2))
    train(run_of(samples, tmp_path / "c", replace(PARAMS, micro_batch=1), observer=parts))
    assert [s.loss for s in workers.steps] == [s.loss for s in alone.steps]
    assert [s.loss for s in parts.steps] == pytest.approx([s.loss for s in alone.steps], rel=1e-4)


def test_last_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = samples_of(tmp_path / "data")
    expected = train(run_of(samples, tmp_path / "whole"))
    watch = Watch(5)
    with pytest.raises(Interrupted):
        train(run_of(samples, tmp_path / "cut", observer=watch, stop=watch.stop))
    kept = sorted((tmp_path / "cut").glob(PATTERN))
    assert [path.name for path in kept] == ["checkpoint-000000004.pt", "checkpoint-000000005.pt"]
    kept[1].write_bytes(kept[1].read_bytes()[:1000])
    assert train(run_of(samples, tmp_path / "cut")).records == expected.records
    assert "000000005.pt cannot be read" in capsys.readouterr().err


def test_checkpoints_within_an_epoch(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data")
    found: list[set[str]] = []

    class Look(Watch):
        def step(self, report: StepReport) -> None:
            found.append({path.name for path in (tmp_path / "work").glob(PATTERN)})

    train(run_of(samples, tmp_path / "work", replace(PARAMS, checkpoint_minutes=0), observer=Look()))
    assert found[1] == {"checkpoint-000000001.pt"}
    assert found[3] == {"checkpoint-000000002.pt", "checkpoint-000000003.pt"}


def test_checkpoint_of_another_recipe_is_refused_and_of_another_pace_taken(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data", 3)
    done = train(run_of(samples, tmp_path / "work"))
    assert train(run_of(samples, tmp_path / "work", replace(PARAMS, micro_batch=1))).records == done.records
    with pytest.raises(TrainingError, match="another recipe"):
        train(run_of(samples, tmp_path / "work", replace(PARAMS, epochs=4)))


def test_checkpoint_from_before_a_parameter_is_taken_at_its_default_alone(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data", 3)
    done = train(run_of(samples, tmp_path / "work"))
    for path in (tmp_path / "work").glob(PATTERN):
        saved = torch.load(path, weights_only=True)
        del saved["recipe"]["degradations"]
        torch.save(saved, path)
    assert train(run_of(samples, tmp_path / "work")).records == done.records
    with pytest.raises(TrainingError, match="another recipe"):
        train(run_of(samples, tmp_path / "work", replace(PARAMS, degradations=("blur",))))


def test_loss_that_is_not_finite_stops_and_leaves_the_batch(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data", 3)
    broken = players()
    with torch.no_grad():
        broken.surrogate.mask_decoder.mask_tokens.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"loss is nan .* in step 0, epoch 0"):
        train(run_of(samples, tmp_path / "work", players=broken))
    with safe_open(tmp_path / "work" / "not-finite-process-0.safetensors", framework="pt") as file:
        assert file.get_tensor("image").shape == (3, 3, TINY.input_size, TINY.input_size)
        assert len(json.loads(file.metadata()["ids"])) == 3
    assert not list((tmp_path / "work").glob(PATTERN))


def test_a_loss_that_becomes_infinite_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data")
    expected = train(run_of(samples, tmp_path / "whole"))
    both = players()

    class Spoil(Watch):
        def step(self, report: StepReport) -> None:
            if report.step == 2:  # the first of the second epoch, after the checkpoint of the first
                with torch.no_grad():
                    both.generator.mask_decoder.noise_token.weight.fill_(float("nan"))

    with pytest.raises(TrainingError, match=r"loss is nan .* in step 3, epoch 1"):
        train(run_of(samples, tmp_path / "cut", players=both, observer=Spoil()))
    assert [path.name for path in (tmp_path / "cut").glob(PATTERN)] == ["checkpoint-000000002.pt"]
    assert (tmp_path / "cut" / "not-finite-process-0.safetensors").is_file()
    assert train(run_of(samples, tmp_path / "cut")).records == expected.records


def test_unusable_samples_are_left_out_and_counted(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data", 6)
    images, masks = tmp_path / "data" / "images", tmp_path / "data" / "masks"
    (images / "photo 00.png").write_bytes((images / "photo 00.png").read_bytes()[:200])
    Image.new("L", (3, 3)).save(masks / "photo 01.png")
    Image.new("L", (72, 64)).save(masks / "photo 02.png")
    large, dot = Image.new("RGB", (3000, 2000)), Image.new("L", (3000, 2000))
    dot.paste(255, (1000, 1000, 1003, 1001))
    large.save(images / "photo 03.png"), dot.save(masks / "photo 03.png")
    watch = Watch()
    position = train(run_of(samples, tmp_path / "work", observer=watch))
    assert position.skipped == {
        "photo 00": "damaged",
        "photo 01": "damaged",
        "photo 02": "empty",
        "photo 03": "vanished",
    }
    assert [(r.samples, r.skipped) for r in position.records] == [(2, 4)] * 3
    assert all(np.isfinite(r.loss) for r in position.records)


def test_source_without_a_usable_sample_is_an_error(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data", 2)
    for path in (tmp_path / "data" / "masks").glob("*"):
        Image.new("L", (72, 64)).save(path)
    with pytest.raises(TrainingError, match=r"no training sample can be used \(photo 00: empty"):
        train(run_of(samples, tmp_path / "work"))


@pytest.mark.parametrize("kind", ["16-bit", "grey", "rgba", "cmyk", "rotated", "palette"])
def test_unusual_images_are_used_or_counted(tmp_path: Path, kind: str) -> None:
    samples = samples_of(tmp_path / "data", 2)
    path = tmp_path / "data" / "images" / "photo 00.png"
    picture = Image.open(path)
    made = {
        "16-bit": lambda: Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257),
        "grey": lambda: picture.convert("L"),
        "rgba": lambda: picture.convert("RGBA"),
        "cmyk": lambda: picture.convert("CMYK"),
        "rotated": lambda: picture,
        "palette": lambda: picture.convert("P"),
    }[kind]()
    exif = Image.Exif()
    exif[274] = 6
    made.save(path, format="JPEG" if kind == "cmyk" else "PNG", exif=exif if kind == "rotated" else b"")
    loaded = TrainDataset(samples, TINY, PARAMS)[0, 0]
    if kind in ("16-bit", "cmyk"):
        assert isinstance(loaded, SkippedSample)
        assert "photo 00" in loaded.detail
    else:
        assert isinstance(loaded, TrainSample)


def test_validation_scores_noised_and_clean(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data", 6)
    both = players()
    scores = validate(both.generator, both.surrogate, ValidationSet(name="made", samples=samples), PARAMS)
    assert (scores.images, scores.skipped) == (6, 0)
    assert scores.iou_noised != scores.iou_clean
    few = validate(
        both.generator,
        both.surrogate,
        ValidationSet(name="made", samples=samples),
        replace(PARAMS, validation_images=4, epsilon=0, epsilon_bg=0),
    )
    assert few.images == 4
    assert few.iou_noised == few.iou_clean
    assert few.boundary_iou_noised == few.boundary_iou_clean


def test_validation_every_other_epoch_and_at_the_end(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data", 3)
    held = [ValidationSet(name="made", samples=samples)]
    params = replace(PARAMS, validate_every=2)
    position = train(run_of(samples, tmp_path / "work", params, validation=held))
    assert [sorted(record.validation) for record in position.records] == [[], ["made"], ["made"]]
    assert position.records[0].row()["validation_iou_clean"] is None
    assert position.records[2].row()["validation_iou_clean"] == position.records[2].validation["made"].iou_clean


@pytest.mark.parametrize(
    "option", [{"gradient_checkpointing": True}, pytest.param({"compile": True}, marks=pytest.mark.slow)]
)
def test_ways_to_run_change_losses_by_rounding_only(tmp_path: Path, option: dict[str, bool]) -> None:
    samples = samples_of(tmp_path / "data", 3)
    params = replace(PARAMS, epochs=2, train_sam=True)
    usual, other = Watch(), Watch()
    changed = replace(params, **option)  # type: ignore[arg-type]
    train(run_of(samples, tmp_path / "a", params, players=players(params, SHALLOW), observer=usual))
    train(run_of(samples, tmp_path / "b", changed, players=players(changed, SHALLOW), observer=other))
    assert [s.loss for s in other.steps] == pytest.approx([s.loss for s in usual.steps], rel=1e-5)
    assert [s.gradient_norm for s in other.steps] == pytest.approx([s.gradient_norm for s in usual.steps], rel=1e-3)


def test_bf16_reaches_the_training_and_stays_near_float32(tmp_path: Path) -> None:
    samples = samples_of(tmp_path / "data", 3)
    params = replace(PARAMS, epochs=2, train_sam=True)
    usual, other = Watch(), Watch()
    train(run_of(samples, tmp_path / "a", params, observer=usual))
    train(replace(run_of(samples, tmp_path / "b", params, observer=other), precision="bf16"))
    exact, rough = [s.loss for s in usual.steps], [s.loss for s in other.steps]
    assert all(a != b for a, b in zip(exact, rough, strict=True))
    assert rough == pytest.approx(exact, rel=2e-2)


def test_resnet_as_the_surrogate(tmp_path: Path) -> None:
    """The paper's other surrogate goes the same road, and only what it has may move."""
    samples = samples_of(tmp_path / "data", 3)
    params = replace(PARAMS, epochs=2)
    resnet = initialise(Surrogate, TINY, 1, encoder="resnet50")
    both = make_players(initialise(Generator, TINY, 0), resnet, params, CPU)
    before = weights(both.surrogate)
    position = train(run_of(samples, tmp_path / "work", params, players=both))
    assert [record.phase for record in position.records] == ["surrogate", "generator"]
    assert any(name.startswith("image_encoder") for name in moved(before, both.surrogate))


def test_surrogate_learns_to_read_the_object(tmp_path: Path) -> None:
    """Surrogate steps alone fit a handful of images: loss, targets and prompts belong together."""
    samples = samples_of(tmp_path / "data", 4)
    both, dataset = players(), TrainDataset(samples, TINY, replace(PARAMS, scale_min=1.0, scale_max=1.0))
    held = [sample for i in range(4) if isinstance(sample := dataset[0, i], TrainSample)]
    before = check_health(both.generator, both.surrogate, held, PARAMS).surrogate_iou_noised
    freeze(both, "surrogate", PARAMS)
    batch = collate(held)
    for _ in range(50):
        forward_step(both.generator, both.surrogate, batch, "surrogate", PARAMS).loss.backward()  # type: ignore[no-untyped-call]
        both.surrogate_optimiser.step()
        both.surrogate_optimiser.zero_grad(set_to_none=True)
    assert check_health(both.generator, both.surrogate, held, PARAMS).surrogate_iou_noised > before + 0.2


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


@pytest.mark.parametrize("pixels", [1, 3])
def test_tiny_objects_give_usable_prompts(pixels: int, rng: np.random.Generator) -> None:
    image, label = torch.zeros(3, 40, 30, dtype=torch.uint8), torch.zeros(1, 40, 30, dtype=torch.uint8)
    label[0, 20, 10 : 10 + pixels] = 255
    sample = make_sample(image, label, rng, TINY, PARAMS)
    assert sample is not None
    assert sample.generator_prompts.points.shape == (10, 2)
    x0, y0, x1, y1 = sample.generator_prompts.box.tolist()
    assert 0 <= x0 <= x1 < TINY.input_size
    assert 0 <= y0 <= y1 < TINY.input_size
