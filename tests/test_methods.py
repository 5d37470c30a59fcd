"""One contract for every protection method, and what makes each of them what it is."""

from __future__ import annotations

import itertools
import time
import typing
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from unseg_core.data.sample import Target, segment_of, target_of
from unseg_core.degradations import jpeg
from unseg_core.errors import ParameterError, WeightsError
from unseg_core.image_tensors import enlarge_to, network_input
from unseg_core.model.generator import Generator
from unseg_core.model.prompts import Prompts
from unseg_core.model.sizes import TINY
from unseg_core.model.weights import initialise, load_generator, save_weights
from unseg_core.params import BaselinesParams
from unseg_core.protect.mask_prompt import mask_prompt
from unseg_core.protect.methods import METHODS, Method, MethodOptions, build_method
from unseg_core.protect.methods.autoregressive import TILE, class_weights
from unseg_core.protect.methods.convolution import PARTS, SIZE, class_filter
from unseg_core.protect.methods.grating import (
    BLUE_CYCLES,
    BY_CLASS,
    COARSER,
    COLOUR,
    DUAL,
    GREY_BY_CLASS,
    GratingNoise,
    Kinds,
)
from unseg_core.protect.methods.unseg import UnsegNoise, image_noise, image_noises
from unseg_core.protect.small_objects import small_objects
from unseg_core.stripes import CYCLES, CYCLES_FOR_SMALL, FINE, SMALL

CLASS_WISE = ("synper", "ar", "cuda")
SHAPES = [(33, 50), (1, 1), (1, 500), (500, 1), (128, 20), (70, 97)]


@pytest.fixture(scope="session")
def generator_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generator") / "generator.safetensors"
    save_weights(initialise(Generator, TINY, 3), path, kind="generator", provenance={"seed": 3})
    return path


@pytest.fixture(params=list(METHODS))
def method(request: pytest.FixtureRequest, generator_file: Path) -> Method:
    return build_method(request.param, MethodOptions(seed=5, generator=generator_file))


def picture(shape: tuple[int, int], seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def scene(shape: tuple[int, int], categories: tuple[int, ...] = (1, 4)) -> Target:
    """A target whose classes are vertical stripes, the first of which is no target."""
    height, width = shape
    edges = np.linspace(0, width, len(categories) + 2).astype(int)
    segments = []
    for category, left, right in zip(categories, edges[1:-1], edges[2:], strict=True):
        mask = np.zeros(shape, dtype=bool)
        mask[:, left:right] = True
        segments.append(segment_of(mask, category))
    return Target(height=height, width=width, segments=tuple(segments))


# --- every method ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_has_the_image_s_shape_and_range(method: Method, shape: tuple[int, int]) -> None:
    noise = method.noise(picture(shape), scene(shape), "one")
    assert noise.shape == (3, *shape)
    assert noise.dtype == np.float32
    assert np.isfinite(noise).all()
    assert np.abs(noise).max() <= 1.0
    across_only = method.name in PALETTES  # whose columns are upright
    assert not np.all(noise == noise[:, :1, :1]) or shape == (1, 1) or (across_only and shape[1] == 1)


def test_noise_depends_on_image_target_id_and_seed_alone(method: Method, generator_file: Path) -> None:
    image, target = picture((60, 80)), scene((60, 80))
    noise = method.noise(image, target, "one")
    method.noise(picture((20, 30), seed=8), scene((20, 30), (2,)), "another")
    again = build_method(method.name, MethodOptions(seed=5, generator=generator_file))
    assert np.array_equal(noise, again.noise(image.copy(), scene((60, 80)), "one"))
    differing = build_method(method.name, MethodOptions(seed=6, generator=generator_file, prompt="point"))
    same = np.array_equal(noise, differing.noise(image, target, "one"))
    assert same == (method.name == "grating"), "its stripes begin at the edge"


@pytest.mark.parametrize(
    ("name", "checksum"),
    [
        ("grating", 3849824490),
        ("class-grating", 1422261043),
        ("dual-grating", 1103792958),
        ("uniform", 2046501398),
        ("synper", 2451022823),
        ("ar", 201985121),
        ("cuda", 3698760723),
    ],
)
def test_baselines_are_the_same_everywhere(name: str, checksum: int) -> None:
    """Copies can be made again on any machine, in any process, with any version from now on."""
    image, target = np.arange(13500, dtype=np.uint8).reshape(50, 90, 3) // 4, scene((50, 90))
    noise = build_method(name, MethodOptions(seed=5)).noise(image, target, "one")
    assert zlib.crc32(noise.tobytes()) == checksum


def test_noise_fills_the_budget(method: Method) -> None:
    """In every class the largest value is at the budget; an untrained generator's is where it happens to be."""
    shape = (96, 120)
    noise, target = method.noise(picture(shape), scene(shape), "one"), scene(shape)
    least = 0.01 if method.name == "unseg" else 0.99
    assert all(np.abs(noise[:, target.labels == category]).max() > least for category in (0, 1, 4))


def test_several_images_get_what_each_gets_alone(method: Method) -> None:
    shapes = [(40, 30), (64, 64), (1, 90), (64, 64)]
    images, targets = [picture(shape, i) for i, shape in enumerate(shapes)], [scene(shape) for shape in shapes]
    together = method.noises(images, targets, ["a", "b", "c", "d"])
    for i, image_id in enumerate("abcd"):
        assert np.array_equal(together[i], method.noise(images[i], targets[i], image_id))
    assert method.noises([], [], []) == []


def test_images_without_a_target_are_all_background(method: Method) -> None:
    image, nothing = picture((40, 40)), target_of(np.zeros((40, 40), dtype=bool))
    noise = method.noise(image, nothing, "one")
    assert np.isfinite(noise).all()
    assert np.abs(noise).max() > 0


@pytest.mark.parametrize("name", ["grating", "uniform", "synper", "ar", "cuda"])
def test_baselines_are_fast(name: str) -> None:
    shape = (375, 500)
    image, target, built = picture(shape), scene(shape, tuple(range(1, 9))), build_method(name, MethodOptions())
    built.noise(image, target, "first")  # finds the weights of its classes
    times = []
    for i in range(3):
        start = time.perf_counter()
        built.noise(image, target, str(i))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5, "3 to 30 ms on an idle core"


# --- gratings ---------------------------------------------------------------------------------------------------------


PALETTES = {"grating": COLOUR, "class-grating": BY_CLASS, "dual-grating": DUAL, "class-grating in grey": GREY_BY_CLASS}
CATEGORIES = range(len(BY_CLASS.targets) + 1)


def grating_of(
    category: int,
    shape: tuple[int, int] = (240, 320),
    image_id: str = "one",
    seed: int = 2,
    kinds: Kinds = COLOUR,
) -> np.ndarray:
    """The noise of an image that is all one class; 0 is no target."""
    whole = segment_of(np.ones(shape, dtype=bool), category)
    target = Target(height=shape[0], width=shape[1], segments=(whole,) if category else ())
    return GratingNoise(seed=seed, kinds=kinds).noise(np.zeros((*shape, 3), dtype=np.uint8), target, image_id)


def strongest(noise_HW: np.ndarray) -> tuple[int, int]:
    """Cycles down and across of the strongest wave, without signs."""
    height, width = noise_HW.shape
    spectrum = np.abs(np.fft.fft2(noise_HW))
    spectrum[0, 0] = 0
    row, column = (int(i) for i in np.unravel_index(spectrum.argmax(), spectrum.shape))
    return min(row, height - row), min(column, width - column)


@pytest.mark.parametrize("shape", [(320, 320), (192, 192), (1024, 1024)])
@pytest.mark.parametrize("kinds", PALETTES.values(), ids=PALETTES)
def test_gratings_have_their_cycles_at_any_size(kinds: Kinds, shape: tuple[int, int]) -> None:
    for category in CATEGORIES:
        noise = grating_of(category, shape, kinds=kinds)
        for stripes in kinds.of(category):
            cycles = min(stripes.cycles, shape[0] // stripes.shortest)
            expected = {"columns": (0, cycles), "rows": (cycles, 0)}.get(stripes.direction, (cycles / 2**0.5,) * 2)
            for channel, sign in zip(noise, stripes.hue, strict=True):
                if sign:
                    assert np.allclose(strongest(channel), expected, atol=1), stripes


def test_small_images_have_fewer_cycles() -> None:
    """Stripes of less than two pixels would be none."""
    noise = grating_of(1, (64, 64), kinds=DUAL)
    assert strongest(noise[0]) == (0, 16)
    assert strongest(noise[2]) == (0, BLUE_CYCLES)


@pytest.mark.parametrize("kinds", PALETTES.values(), ids=PALETTES)
def test_gratings_are_two_opposite_colours_by_wave(kinds: Kinds) -> None:
    for category in CATEGORIES:
        noise = grating_of(category, kinds=kinds)
        assert np.array_equal(np.abs(noise), np.ones_like(noise))
        for stripes in kinds.of(category):
            waves = [sign * channel for channel, sign in zip(noise, stripes.hue, strict=True) if sign]
            assert all(np.array_equal(wave, waves[0]) for wave in waves)
            assert 0.4 < (waves[0] > 0).mean() < 0.6, "as much of the one as of the other"


def test_dual_gratings_are_there_in_grey() -> None:
    """At least half of the budget as brightness, at the fine cycles; of the coloured ones a sixth remains."""
    luma = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    grey = np.tensordot(luma, grating_of(1, (320, 320), kinds=DUAL), 1)
    assert strongest(grey) == (0, FINE)
    assert grey.std() > 0.85
    assert np.tensordot(luma, grating_of(1, (320, 320)), 1).std() < 0.2


def squares(shape: tuple[int, int], *places: tuple[int, int, int]) -> np.ndarray:
    """A mask: top, left and side of each."""
    mask = np.zeros(shape, dtype=bool)
    for top, left, side in places:
        mask[top : top + side, left : left + side] = True
    return mask


def test_objects_are_small_by_the_root_of_their_area() -> None:
    """As a share of the longer side, whatever belongs to the same segment; parts that touch are one object."""
    limit = round(SMALL * 400)
    assert not small_objects(np.zeros((300, 400), dtype=bool)).any()
    mask = squares((300, 400), (0, 0, limit), (100, 100, limit - 1), (200, 200, 20), (200, 220, 20))
    assert np.array_equal(small_objects(mask), mask & ~squares((300, 400), (0, 0, limit)))
    mask |= squares((300, 400), (200, 240, 20))
    assert np.array_equal(small_objects(mask), squares((300, 400), (100, 100, limit - 1)))


def test_the_generator_is_told_where_objects_are_small() -> None:
    """There noise differs from what it would be, and there alone, if it goes through a filter that heeds it."""
    image, place = picture((96, 128)), squares((96, 128), (20, 30, 8))
    mask = place | squares((96, 128), (50, 60, 40))
    one = torch.zeros(1, dtype=torch.long)
    prompts = Prompts(image=one, row=one, masks=mask_prompt(mask, TINY.noise_size)[None])
    for name, differs in (("none", False), ("stripes", True)):
        generator = initialise(Generator, TINY, 3, noise_filter=name).eval()
        with torch.inference_mode():
            untold = enlarge_to(generator(network_input(image, TINY.input_size)[None], [prompts])[0], 96, 128).numpy()
        unlike = (image_noise(generator, image, mask) != untold).any(axis=0)
        assert unlike[place].any() == differs
        assert not unlike[~squares((96, 128), (18, 28, 12))].any()


@pytest.mark.parametrize("name", ["unseg", "grating"])
def test_stripes_have_the_cycles_that_are_asked_for(tmp_path: Path, name: str) -> None:
    path, image, target = tmp_path / "generator.safetensors", picture((320, 320)), target_of(np.ones((320, 320), bool))
    save_weights(initialise(Generator, TINY, 3, noise_filter="stripes"), path, kind="generator", provenance={})
    noises = [
        build_method(name, MethodOptions(generator=path, cycles=cycles)).noise(image, target, "one")
        for cycles in (CYCLES, CYCLES_FOR_SMALL)
    ]
    down, across = np.array([strongest(noise[0]) for noise in noises]).T
    assert across[1] == pytest.approx(2 * across[0], abs=1)
    assert down[1] == pytest.approx(2 * down[0], abs=1)


@pytest.mark.parametrize("kinds", [COLOUR, DUAL], ids=["grating", "dual-grating"])
def test_objects_of_all_classes_have_the_same_stripes(kinds: Kinds) -> None:
    assert np.array_equal(grating_of(1, kinds=kinds), grating_of(7, kinds=kinds))
    assert kinds.of(1) != kinds.of(0)


@pytest.mark.parametrize("side", [96, 320])
def test_class_gratings_without_colour_differ_too(side: int) -> None:
    """Noise of brightness at the full budget, another for each of eight classes and for what is no target."""
    method = GratingNoise(kinds=BY_CLASS).in_grey()
    assert method == GratingNoise(kinds=GREY_BY_CLASS)
    assert GratingNoise(kinds=GREY_BY_CLASS).in_grey() == method
    found = [grating_of(category, (side, side), kinds=GREY_BY_CLASS) for category in range(10)]
    assert all(np.array_equal(noise[0], noise[2]) for noise in found)
    assert np.array_equal(found[8], found[9])
    for one, other in itertools.combinations(found[:9], 2):
        assert abs(np.corrcoef(one[1].ravel(), other[1].ravel())[0, 1]) < 0.5, "squares are crossed diagonals"


def test_class_gratings_differ_by_class() -> None:
    """The first eight from their neighbours in colour and direction, and all of them from what is no target."""
    count = len(BY_CLASS.targets)
    found = [BY_CLASS.of(category) for category in range(count + 2)]
    assert len(set(found[:-1])) == count + 1
    assert found[-1] == found[-2]
    for (one,), (other,) in itertools.pairwise(found[:9]):
        assert one.hue != other.hue
        assert one.direction != other.direction


def test_classes_that_come_first_have_kinds_of_their_own() -> None:
    """Of more classes than kinds: the first share with none of the first, the next with the last of those."""
    count = len(BY_CLASS.targets)
    order = tuple(range(3 * count, count, -1))
    kinds = [BY_CLASS.of(category, order) for category in order]
    assert kinds == [*BY_CLASS.targets, *reversed(BY_CLASS.targets)]
    assert [BY_CLASS.of(category, order) for category in (1, 2)] == list(BY_CLASS.targets[:2]), "by number"
    assert BY_CLASS.of(0, order) == BY_CLASS.no_target
    image, everything = picture((64, 64)), np.ones((64, 64), dtype=bool)
    third_of_order, third = (
        Target(height=64, width=64, segments=(segment_of(everything, category),)) for category in (order[2], 3)
    )
    by_area, by_number = (build_method("class-grating", MethodOptions(class_order=classes)) for classes in (order, ()))
    assert np.array_equal(by_area.noise(image, third_of_order, "one"), by_number.noise(image, third, "one"))


def test_stripes_of_neighbours_go_on_behind_them() -> None:
    """Two things of different classes are one grating, cut along the target."""
    target = scene((90, 120), (1, 7))
    noise = GratingNoise(seed=2).noise(picture((90, 120)), target, "one")
    assert np.array_equal(noise[:, target.mask], grating_of(1, (90, 120))[:, target.mask])
    assert np.array_equal(noise[:, ~target.mask], grating_of(0, (90, 120))[:, ~target.mask])


def test_stripes_begin_at_the_same_place_in_every_image() -> None:
    """At the edge, whatever the image's size, and whatever the seed."""
    assert np.array_equal(grating_of(1, image_id="one"), grating_of(1, image_id="other"))
    half, whole = (grating_of(1, (side, side))[1, 0] for side in (160, 320))
    assert np.mean(half == whole[::2]) > 0.9
    assert np.array_equal(grating_of(1), grating_of(1, seed=3))
    stripe = 320 // CYCLES // 2
    assert whole[:stripe].min() == whole[:stripe].max() == -whole[stripe]


def test_jpeg_keeps_most_where_stripes_begin_at_the_edge(rng: np.random.Generator) -> None:
    """With 32 cycles at 256 pixels, where eight pixels are a block and a cycle; columns of small objects."""
    photo = np.repeat(np.repeat(rng.integers(60, 200, (16, 16, 3), dtype=np.uint8), 16, 0), 16, 1)
    mask = np.zeros((256, 256), dtype=bool)
    for top in range(10, 250, 40):
        for left in range(5, 250, 40):
            mask[top : top + 18, left : left + 18] = True
    columns = build_method("grating", MethodOptions(cycles=32)).noise(photo, target_of(mask), "one")
    compress, kept = jpeg(75), []
    for shift in (0, 1, 2, 3):
        noise = 8 * np.roll(columns, shift, 2).transpose(1, 2, 0) * mask[:, :, None]
        both = np.stack([photo, np.clip(photo + noise, 0, 255)]).astype(np.float32)
        before, after = compress(torch.from_numpy(both).permute(0, 3, 1, 2) / 255)
        left = (after - before).permute(1, 2, 0).numpy() * 255
        kept.append(float((left * noise).sum() / (noise * noise).sum()))
    assert kept[0] == max(kept)
    assert kept[0] > 1.2 * min(kept)


@pytest.mark.parametrize(
    ("kinds", "cycles", "diagonal"),
    [(BY_CLASS, CYCLES, 3), (GREY_BY_CLASS, COARSER[0], 3), (DUAL, FINE, 0)],
    ids=["class-grating", "class-grating in grey", "dual-grating"],
)
def test_stripes_begin_elsewhere_in_every_image(kinds: Kinds, cycles: int, diagonal: int) -> None:
    """So the mean of many images does not show them."""
    noises = [grating_of(1, image_id=f"image {i}", kinds=kinds) for i in range(64)]
    assert np.abs(np.mean(noises, axis=0)).max() < 0.6
    assert {strongest(noise[1]) for noise in noises} == {(0, cycles)}
    diagonals = [grating_of(diagonal, image_id=f"image {i}", kinds=kinds)[1] for i in range(16)]
    assert {bool((wave[1:, :-1] == wave[:-1, 1:]).all()) for wave in diagonals} == {True, False}, "falling and rising"


# --- the class-wise baselines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASS_WISE)
def test_a_pixel_s_noise_follows_its_class(name: str) -> None:
    """The same class alone or beside others; another class is another noise."""
    built, image = build_method(name, MethodOptions(seed=1)), picture((64, 64)) // 8 + 100
    alone, both = scene((64, 64), (3,)), scene((64, 64), (3, 9))
    everywhere = [built.noise(image, scene((64, 64), (c, c)), "one")[:, :, 40:] for c in (3, 9)]
    assert np.abs(everywhere[0] - everywhere[1]).mean() > 0.05
    if name != "ar":  # whose start values depend on the classes in a tile
        same = (alone.labels == 3) & (both.labels == 3)
        beside, own = (built.noise(image, target, "one")[:, same] for target in (both, alone))
        assert same.any()
        assert np.array_equal(beside, own)


def test_synper_is_linearly_separable() -> None:
    """Patches of 8x8 whose signs are the class's in every image."""
    built = build_method("synper", MethodOptions(seed=1))
    whole = target_of(np.ones((64, 64), dtype=bool))
    noises = np.stack([built.noise(picture((64, 64), i), whole, f"image {i}") for i in range(4)])
    assert np.array_equal(np.sign(noises), np.broadcast_to(np.sign(noises[:1]), noises.shape))
    assert not np.array_equal(noises[0], noises[1]), "each image is a point of its own"
    patches = noises.reshape(4, 3, 8, 8, 8, 8)
    assert np.array_equal(patches, np.broadcast_to(patches[:, :, :, :1, :, :1], patches.shape))
    other = built.noise(picture((64, 64)), scene((64, 64), (2, 2)), "image 0")[:, :, 30:]
    assert 0.2 < (np.sign(other) != np.sign(noises[0][:, :, 30:])).mean() < 0.8


def test_autoregressive_noise_obeys_its_class_s_recurrence() -> None:
    built = build_method("ar", MethodOptions(seed=1))
    whole = target_of(np.ones((2 * TILE, 3 * TILE), dtype=bool))
    first, second = (built.noise(picture((2 * TILE, 3 * TILE)), whole, image_id) for image_id in "ab")
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.2
    weights = class_weights(1, 1)
    assert np.allclose(weights.sum(axis=0), 1, atol=1e-5)
    assert not np.allclose(weights, class_weights(1, 2))
    for noise in (first, second):
        tile = noise[:, TILE : 2 * TILE, TILE : 2 * TILE]
        window = [tile[:, y : TILE - 2 + y, x : TILE - 2 + x] for y in range(3) for x in range(3)]
        following = sum(weights[i][:, None, None] * window[i] for i in range(8))
        assert np.abs(following - window[8]).max() < 1e-5
        quarters = tile.reshape(3, 2, TILE // 2, 2, TILE // 2).std(axis=(2, 4))
        assert quarters.min() > 0.02, "it neither dies out nor explodes"


def test_autoregressive_noise_of_a_large_image_is_made_in_bands() -> None:
    shape = (3 * TILE, 300 * TILE)
    noise = build_method("ar", MethodOptions()).noise(np.zeros((*shape, 3), dtype=np.uint8), scene(shape, (1,)), "wide")
    tiles = np.abs(noise).reshape(3, 3, TILE, 300, TILE).max(axis=(2, 4))
    assert np.allclose(tiles, 1), "every tile fills the budget"


def test_convolution_is_exact_and_within_the_clip() -> None:
    kernel = class_filter(1, 1)
    parts = np.round(kernel * PARTS).astype(np.int64)
    assert np.array_equal(parts / PARTS, kernel)
    assert parts.sum() == PARTS
    assert kernel.max() == kernel[SIZE // 2, SIZE // 2]
    image = picture((30, 40))
    padded = np.pad(image.astype(np.int64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    blurred = sum(parts[y, x] * padded[y : y + 30, x : x + 40] for y in range(SIZE) for x in range(SIZE)) / PARTS
    expected = np.clip((blurred - image) / 8, -1, 1).astype(np.float32).transpose(2, 0, 1)
    built = build_method("cuda", MethodOptions(seed=1))
    assert np.array_equal(built.noise(image, target_of(np.ones((30, 40), dtype=bool)), "one"), expected)
    flat = np.full((30, 40, 3), 77, dtype=np.uint8)
    assert not built.noise(flat, scene((30, 40)), "one").any()


def test_uniform_noise_differs_by_image_and_seed() -> None:
    mask, image = np.ones((8, 8), dtype=bool), np.zeros((8, 8, 3), dtype=np.uint8)
    drawn = [
        build_method("uniform", MethodOptions(seed=s)).noise(image, target_of(mask), i)
        for s, i in ((0, "a"), (0, "b"), (1, "a"))
    ]
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


# --- the generator ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["mask", "box", "point", "whole"])
def test_unseg_noise_follows_its_prompt(generator_file: Path, prompt: str, rng: np.random.Generator) -> None:
    generator = load_generator(generator_file)
    image = rng.integers(0, 256, (40, 64, 3), dtype=np.uint8)
    left, right = np.zeros((2, 40, 64), dtype=bool)
    left[5:20, 5:25], right[15:35, 40:60] = True, True
    first, second = (image_noise(generator, image, mask, prompt=prompt) for mask in (left, right))
    assert np.array_equal(first, second) == (prompt == "whole")


@pytest.mark.parametrize("prompt", ["mask", "box", "point", "whole"])
def test_one_pass_for_several_images(generator_file: Path, prompt: str) -> None:
    """What a GPU runs; the last bits depend on the batch."""
    generator = load_generator(generator_file)
    shapes = [(40, 30), (64, 64), (1, 90)]
    images, masks = [picture(shape, i) for i, shape in enumerate(shapes)], [scene(shape).mask for shape in shapes]
    together = image_noises(generator, images, masks, prompt=prompt, seed=4)
    for noise, image, mask in zip(together, images, masks, strict=True):
        assert np.abs(noise - image_noise(generator, image, mask, prompt=prompt, seed=4)).max() < 1e-5


def test_without_colour_only_stripes_change() -> None:
    """They become finer; what the paper has stays as it is."""
    image, target = picture((96, 128)), scene((96, 128))
    for name, finer in (("none", False), ("stripes", True)):
        method = UnsegNoise(generator=initialise(Generator, TINY, 3, noise_filter=name).eval())
        colour, grey = (one.noise(image, target, "one") for one in (method, method.in_grey()))
        assert np.array_equal(colour, grey) is not finer


def test_every_method_can_be_a_parameter() -> None:
    (names, _) = typing.get_args(typing.get_type_hints(BaselinesParams)["methods"])
    assert {"unseg", *typing.get_args(names)} == set(METHODS)


def test_unknown_method_and_missing_generator() -> None:
    with pytest.raises(ParameterError, match="choose one of unseg, grating, class-grating, dual-grating"):
        build_method("magic", MethodOptions())
    with pytest.raises(ParameterError, match="needs a generator"):
        build_method("unseg", MethodOptions())
    with pytest.raises(WeightsError, match="does not exist"):
        build_method("unseg", MethodOptions(generator=Path("/nowhere.safetensors")))
