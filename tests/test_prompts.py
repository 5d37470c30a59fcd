"""Any number of objects and images in one call: the same noise as one at a time, with one encoder pass per image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unseg_core.data.sample import Target
from unseg_core.device import autocast, choose_precision
from unseg_core.model.generator import Generator
from unseg_core.model.prompts import Prompts
from unseg_core.model.sizes import SMALL, TINY, Size
from unseg_core.model.surrogate import Surrogate
from unseg_core.model.weights import initialise, save_weights
from unseg_core.protect.methods import MethodOptions, build_method

CLOSE = 1e-5
CPU = torch.device("cpu")
CPU_FLAGS = Path("/proc/cpuinfo")


@pytest.fixture(params=[TINY, SMALL], ids=lambda size: size.name)
def generator(request: pytest.FixtureRequest) -> Generator:
    return initialise(Generator, request.param, 2).eval()


def _images(size: Size, count: int) -> Tensor:
    return torch.rand(count, 3, size.input_size, size.input_size, generator=torch.Generator().manual_seed(1))


def _mask(size: Size, number: int) -> Tensor:
    mask = torch.zeros(1, 1, size.noise_size, size.noise_size)
    start = 3 + 5 * number
    mask[:, :, start : start + 12, 4 : 10 + 3 * number] = 255.0
    return mask


def _rows(*numbers: int) -> Tensor:
    return torch.tensor(numbers)


def test_objects_of_several_images_share_encoder_passes(generator: Generator) -> None:
    size, passes = generator.size, []
    generator.image_encoder.neck.register_forward_hook(lambda module, given, out: passes.append(len(given[0])))
    images = _images(size, 2)
    masks = [_mask(size, number) for number in range(3)]
    box = torch.tensor([[3.0, 4.0, 30.0, 40.0]])
    points = torch.tensor([[[5.0, 6.0], [20.0, 21.0]]])
    groups = [
        Prompts(image=_rows(0, 1, 0), row=_rows(0, 2, 4), masks=torch.cat(masks)),
        Prompts(image=_rows(1), row=_rows(1), boxes=box),
        Prompts(image=_rows(0), row=_rows(3), boxes=box, points=points, masks=masks[1]),
    ]
    with torch.no_grad():
        together = generator(images, groups)
        assert passes == [2]
        alone = {"image": _rows(0), "row": _rows(0)}
        expected = [
            generator(images[:1], [Prompts(**alone, masks=masks[0])]),
            generator(images[1:], [Prompts(**alone, boxes=box)]),
            generator(images[1:], [Prompts(**alone, masks=masks[1])]),
            generator(images[:1], [Prompts(**alone, boxes=box, points=points, masks=masks[1])]),
            generator(images[:1], [Prompts(**alone, masks=masks[2])]),
        ]
    assert together.shape == (5, 3, size.noise_size, size.noise_size)
    assert (together - torch.cat(expected)).abs().max() < CLOSE


def test_negative_points_count() -> None:
    surrogate = initialise(Surrogate, TINY, 3).eval()
    image = torch.rand(1, 3, TINY.surrogate_input_size, TINY.surrogate_input_size)
    points = torch.tensor([[[5.0, 6.0], [20.0, 21.0]]])
    plain = Prompts(image=_rows(0), row=_rows(0), points=points)
    positive = replace(plain, point_labels=torch.ones(1, 2))
    negative = replace(plain, point_labels=torch.tensor([[1.0, 0.0]]))
    with torch.no_grad():
        first, second, third = (surrogate(image, [prompts]) for prompts in (plain, positive, negative))
    assert torch.equal(first, second)
    assert (first - third).abs().max() > 1e-4


def test_bf16_stays_close_to_fp32(generator: Generator) -> None:
    image, prompts = _images(generator.size, 1), [Prompts(image=_rows(0), row=_rows(0), masks=_mask(generator.size, 1))]
    with torch.no_grad():
        exact = generator(image, prompts)
        with autocast(CPU, "bf16"):
            rough = generator(image, prompts).float()
    assert 0 < (rough - exact).abs().max() < 4e-2


@pytest.mark.skipif(
    not CPU_FLAGS.exists(), reason="the kernel of this system does not list the processor's instructions"
)
def test_precision_follows_the_device() -> None:
    flags = CPU_FLAGS.read_text().split()
    fast = "avx512_bf16" in flags or "amx_bf16" in flags
    assert choose_precision("fp32", CPU) == "fp32"
    assert choose_precision("auto", CPU) == ("bf16" if fast else "fp32")
    if fast:
        assert choose_precision("bf16", CPU) == "bf16"
    else:
        with pytest.warns(UserWarning, match="only emulates"):
            assert choose_precision("bf16", CPU) == "bf16"


def test_bf16_reaches_the_network_of_a_method(tmp_path: Path, rng: np.random.Generator) -> None:
    file = tmp_path / "generator.safetensors"
    save_weights(initialise(Generator, TINY, 0), file, kind="generator", provenance={})
    image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    target = Target(height=40, width=60, segments=())
    exact, rough, again = (
        build_method("unseg", MethodOptions(generator=file, prompt="whole", precision=precision)).noise(
            image, target, "a"
        )
        for precision in ("fp32", "bf16", "bf16")
    )
    assert np.array_equal(rough, again)
    assert 1e-4 < np.abs(rough - exact).max() < 4e-2
