"""Synthetic scenes: the same arguments give the same bytes, masks are exact, and colour alone does not find objects."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from unseg_core.data.scene_layout import LEAST_COVERAGE, MOST_COVERAGE
from unseg_core.data.scenes import SCENE_CLASSES, Scene, render_scene, write_scenes
from unseg_core.errors import ParameterError

SIZE = 64


@cache
def scenes(count: int = 30) -> tuple[Scene, ...]:
    return tuple(render_scene(index, size=SIZE, seed=11) for index in range(count))


def same(one: Scene, other: Scene) -> bool:
    return all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in ("image", "labels", "instances")
    )


def files_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", [32, 33, 96, 256])
def test_a_scene_has_the_promised_arrays(size: int) -> None:
    scene = render_scene(3, size=size, seed=0)
    assert scene.image.shape == (size, size, 3)
    assert scene.labels.shape == scene.instances.shape == (size, size)
    assert {scene.image.dtype, scene.labels.dtype, scene.instances.dtype} == {np.dtype(np.uint8)}


def test_the_same_arguments_give_the_same_scene_in_any_order() -> None:
    backwards = [render_scene(index, size=SIZE, seed=11) for index in (5, 2, 0)]
    assert all(same(scene, scenes()[index]) for scene, index in zip(backwards, (5, 2, 0), strict=True))


def test_index_and_seed_change_the_scene() -> None:
    first = render_scene(0, size=SIZE, seed=11)
    assert not np.array_equal(first.labels, render_scene(1, size=SIZE, seed=11).labels)
    assert not np.array_equal(first.labels, render_scene(0, size=SIZE, seed=12).labels)


def test_instances_and_labels_agree() -> None:
    for scene in scenes():
        assert np.array_equal(scene.instances > 0, scene.labels > 0)
        numbers = np.unique(scene.instances[scene.instances > 0])
        assert np.array_equal(numbers, np.arange(1, len(numbers) + 1))
        for number in numbers:
            assert len(np.unique(scene.labels[scene.instances == number])) == 1


def test_objects_cover_a_fair_part_and_one_is_large_enough() -> None:
    covered = [np.mean(scene.labels > 0) for scene in scenes()]
    assert min(covered) >= LEAST_COVERAGE
    assert max(covered) <= MOST_COVERAGE
    assert max(covered) - min(covered) > 0.1
    assert all(np.bincount(scene.instances.ravel())[1:].max() >= 0.01 * SIZE * SIZE for scene in scenes())


def test_every_class_and_several_objects_occur() -> None:
    labels, counts = np.unique(np.stack([scene.labels for scene in scenes()]), return_counts=True)
    assert labels.tolist() == list(range(len(SCENE_CLASSES) + 1))
    assert counts[1:].min() > 0.03 * counts.sum()
    objects = [int(scene.instances.max()) for scene in scenes()]
    assert max(objects) <= 6
    assert 3 <= np.mean(objects) <= 5


def test_objects_hide_each_other_somewhere() -> None:
    """Two instances with a common border in at least a few scenes, so depth order is worth something."""
    touching = 0
    for scene in scenes():
        left, right = scene.instances[:, :-1], scene.instances[:, 1:]
        touching += bool(np.any((left != right) & (left > 0) & (right > 0)))
    assert touching >= 5


def test_a_larger_size_shows_the_same_plan_in_more_detail() -> None:
    small, large = (render_scene(4, size=size, seed=11).labels for size in (64, 192))
    agree = np.mean(large[1::3, 1::3] == small)
    assert agree > 0.97  # the centre of each pixel of the small scene is a pixel centre of the large one


def test_the_image_has_an_edge_where_the_mask_has_one() -> None:
    """Steps between neighbours are larger across mask borders than elsewhere, and shifting the mask loses that."""
    ratios = {shift: np.mean([edge_strength(scene, shift) for scene in scenes()]) for shift in (0, 5)}
    assert ratios[0] > 1.25
    assert ratios[0] > ratios[5] + 0.2


def edge_strength(scene: Scene, shift: int) -> float:
    """Mean step of grey level across the borders of the mask (moved by `shift` columns) over the mean step."""
    steps = np.abs(np.diff(scene.image.astype(float).mean(axis=2), axis=1))
    border = np.roll(np.diff(scene.instances.astype(int), axis=1) != 0, shift, axis=1)
    return float(steps[border].mean() / steps.mean())


def test_no_global_colour_threshold_finds_the_objects() -> None:
    """Over many scenes the best threshold on one channel does no better than calling everything an object."""
    images = np.stack([scene.image for scene in scenes()])
    objects = np.stack([scene.labels for scene in scenes()]) > 0
    everything = float(objects.mean())
    assert max(best_threshold_iou(images[..., channel], objects) for channel in range(3)) < everything + 0.05


def test_not_even_a_threshold_per_scene_finds_the_objects() -> None:
    """The best channel and threshold of each scene, chosen with knowledge of the mask, still misses most of it."""
    best = [
        max(best_threshold_iou(scene.image[..., channel], scene.labels > 0) for channel in range(3))
        for scene in scenes()
    ]
    assert np.mean(best) < 0.6


def best_threshold_iou(channel: NDArray[np.uint8], objects: NDArray[np.bool_]) -> float:
    """Highest IoU with `objects` of any `channel > t` or `channel < t`."""
    inside = np.bincount(channel[objects], minlength=256)
    either = np.bincount(channel.ravel(), minlength=256)
    darker_hits, darker = np.cumsum(inside), np.cumsum(either)
    brighter_hits, brighter = inside.sum() - darker_hits, either.sum() - darker
    total = inside.sum()
    return float(
        max(
            (darker_hits / (darker + total - darker_hits)).max(),
            (brighter_hits / (brighter + total - brighter_hits)).max(),
        )
    )


def test_mean_colour_does_not_tell_the_classes_apart() -> None:
    """Class means of colour lie much closer together than the objects of one class do."""
    colours: dict[int, list[NDArray[np.float64]]] = {label: [] for label in range(1, len(SCENE_CLASSES) + 1)}
    for scene in scenes():
        for number in range(1, int(scene.instances.max()) + 1):
            inside = scene.instances == number
            colours[int(scene.labels[inside][0])].append(scene.image[inside].mean(axis=0))
    between = np.std([np.mean(colour, axis=0) for colour in colours.values()], axis=0)
    within = np.mean([np.std(colour, axis=0) for colour in colours.values()], axis=0)
    assert np.all(between < 0.6 * within)


def test_written_files_hold_the_rendered_arrays(tmp_path: Path) -> None:
    write_scenes(tmp_path, count=3, size=SIZE, seed=11)
    for index, scene in enumerate(scenes()[:3]):
        for folder, pixels, mode in (
            ("images", scene.image, "RGB"),
            ("masks", scene.labels, "L"),
            ("instances", scene.instances, "L"),
        ):
            with Image.open(tmp_path / folder / f"scene_{index:05d}.png") as picture:
                assert picture.mode == mode
                assert np.array_equal(np.asarray(picture), pixels)
    names = json.loads((tmp_path / "classes.json").read_text(encoding="utf-8"))
    assert names == {"0": "background", "1": "disc", "2": "brick", "3": "star", "4": "leaf"}
    assert len(files_below(tmp_path)) == 10  # nothing half-written is left


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    write_scenes(tmp_path / "one", count=2, size=32, seed=5)
    write_scenes(tmp_path / "two", count=2, size=32, seed=5)
    first = files_below(tmp_path / "one")
    write_scenes(tmp_path / "one", count=2, size=32, seed=5)
    assert first == files_below(tmp_path / "two") == files_below(tmp_path / "one")


def test_an_interrupted_write_leaves_no_class_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scenes(tmp_path, count=1, size=32, seed=5)

    def fail(*_: object, **__: object) -> Scene:
        raise KeyboardInterrupt

    monkeypatch.setattr("unseg_core.data.scenes.render_scene", fail)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path, count=2, size=32, seed=5)
    assert not (tmp_path / "classes.json").exists()


@pytest.mark.parametrize("size", [0, 31, 1025, 64.0, True])
def test_a_wrong_size_is_refused(size: int, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="size"):
        render_scene(0, size=size, seed=0)
    with pytest.raises(ParameterError, match="size"):
        write_scenes(tmp_path / "scenes", count=1, size=size, seed=0)
    assert not (tmp_path / "scenes").exists()


@pytest.mark.parametrize("count", [0, -1, 100_001, 1.5])
def test_a_wrong_count_is_refused(count: int, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="count"):
        write_scenes(tmp_path / "scenes", count=count, size=32, seed=0)
    assert not (tmp_path / "scenes").exists()


def test_a_wrong_seed_or_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="seed"):
        render_scene(0, size=32, seed=-1)
    with pytest.raises(ParameterError, match="seed"):
        write_scenes(tmp_path / "scenes", count=1, size=32, seed=-1)
    with pytest.raises(ParameterError, match="index"):
        render_scene(-1, size=32, seed=0)
