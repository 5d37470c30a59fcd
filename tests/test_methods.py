"""One contract for every protection method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unseg_core.data.sample import target_of
from unseg_core.errors import ParameterError, WeightsError
from unseg_core.model.generator import Generator
from unseg_core.model.sizes import TINY
from unseg_core.model.weights import initialise, load_generator, save_weights
from unseg_core.protect.methods import METHODS, Method, MethodOptions, build_method
from unseg_core.protect.methods.unseg import image_noise


@pytest.fixture(scope="session")
def generator_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generator") / "generator.safetensors"
    save_weights(initialise(Generator, TINY, 3), path, kind="generator", provenance={"seed": 3})
    return path


@pytest.fixture(params=list(METHODS))
def method(request: pytest.FixtureRequest, generator_file: Path) -> Method:
    return build_method(request.param, MethodOptions(seed=5, generator=generator_file))


@pytest.mark.parametrize("shape", [(33, 50), (1, 1), (128, 20)])
def test_noise_has_the_image_s_shape_and_range(
    method: Method, shape: tuple[int, int], rng: np.random.Generator
) -> None:
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    mask = np.zeros(shape, dtype=bool)
    mask[: (shape[0] + 1) // 2] = True
    noise = method.noise(image, target_of(mask), "one")
    assert noise.shape == (3, *shape)
    assert noise.dtype == np.float32
    assert np.abs(noise).max() <= 1.0
    assert np.array_equal(noise, method.noise(image, target_of(mask), "one"))
    assert not np.all(noise == noise[:, :1, :1]) or shape == (1, 1)


def test_uniform_noise_differs_by_image_and_seed() -> None:
    mask, image = np.ones((8, 8), dtype=bool), np.zeros((8, 8, 3), dtype=np.uint8)
    drawn = [
        build_method("uniform", MethodOptions(seed=s)).noise(image, target_of(mask), i)
        for s, i in ((0, "a"), (0, "b"), (1, "a"))
    ]
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize("prompt", ["mask", "box", "point", "whole"])
def test_unseg_noise_follows_its_prompt(generator_file: Path, prompt: str, rng: np.random.Generator) -> None:
    generator = load_generator(generator_file)
    image = rng.integers(0, 256, (40, 64, 3), dtype=np.uint8)
    left, right = np.zeros((2, 40, 64), dtype=bool)
    left[5:20, 5:25], right[15:35, 40:60] = True, True
    first, second = (image_noise(generator, image, mask, prompt=prompt) for mask in (left, right))
    assert np.array_equal(first, second) == (prompt == "whole")


def test_unknown_method_and_missing_generator() -> None:
    with pytest.raises(ParameterError, match="choose one of unseg, uniform"):
        build_method("magic", MethodOptions())
    with pytest.raises(ParameterError, match="needs a generator"):
        build_method("unseg", MethodOptions())
    with pytest.raises(WeightsError, match="does not exist"):
        build_method("unseg", MethodOptions(generator=Path("/nowhere.safetensors")))
