"""The budget holds whatever the image, the noise and the region, on the file as written and decoded again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unseg_core.images import Picture, decode_image, encode_image
from unseg_core.model.budget import add_noise
from unseg_core.protect.measure import measure, noised

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
LEVELS = st.one_of(st.integers(0, 255).map(float), st.floats(0, 255, width=32))


@given(shape=SHAPES, epsilon=LEVELS, epsilon_bg=LEVELS, grey=st.booleans(), data=st.data())
def test_budget_holds_on_the_decoded_file(
    shape: tuple[int, int], epsilon: float, epsilon_bg: float, grey: bool, data: st.DataObject
) -> None:
    image = data.draw(arrays(np.uint8, (*shape, 1 if grey else 3)))
    image = np.repeat(image, 3, axis=2) if grey else image
    noise = data.draw(arrays(np.float32, (1 if grey else 3, *shape), elements=st.floats(-1, 1, width=32)))
    noise = np.repeat(noise, 3, axis=0) if grey else noise
    region = data.draw(arrays(np.bool_, shape))
    changed = add_noise(image, noise, region, epsilon=epsilon, epsilon_bg=epsilon_bg)
    picture = Picture(pixels=image, format="png", grey=grey)
    written = decode_image(encode_image(changed, picture, "png"), "written.png").pixels
    change = measure(image, written, region, epsilon=epsilon, epsilon_bg=epsilon_bg)
    assert change.linf_inside <= epsilon
    assert change.linf_outside <= epsilon_bg


def test_full_noise_uses_the_whole_budget() -> None:
    image = np.full((4, 6, 3), 100, dtype=np.uint8)
    region = np.zeros((4, 6), dtype=bool)
    region[:, :3] = True
    changed = add_noise(image, np.ones((3, 4, 6), dtype=np.float32), region, epsilon=8, epsilon_bg=2)
    assert np.all(changed[:, :3] == 108)
    assert np.all(changed[:, 3:] == 102)
    change = measure(image, changed, region, epsilon=8, epsilon_bg=2)
    assert (change.linf_inside, change.linf_outside) == (8, 2)


def test_rounding_is_half_to_even_and_clamped() -> None:
    image = np.array([[[10, 11, 255]]], dtype=np.uint8)
    noise = np.full((3, 1, 1), 0.25, dtype=np.float32)
    changed = add_noise(image, noise, np.ones((1, 1), dtype=bool), epsilon=2, epsilon_bg=0)
    assert changed.tolist() == [[[10, 12, 255]]]


def test_psnr_by_hand() -> None:
    image, region = np.zeros((2, 2, 3), dtype=np.uint8), np.ones((2, 2), dtype=bool)
    same, other = (measure(image, image + np.uint8(one), region, epsilon=8, epsilon_bg=2) for one in (0, 5))
    assert same.psnr == 100.0
    assert other.psnr == pytest.approx(20 * np.log10(255 / 5))


def test_grey_image_gets_the_noise_of_green() -> None:
    """A mean of the channels would leave a third of stripes in opposite colours."""
    image, region = np.full((2, 4, 3), 100, dtype=np.uint8), np.ones((2, 4), dtype=bool)
    noise = np.stack([np.full((2, 4), value, dtype=np.float32) for value in (1, -1, 1)])
    changed = noised(image, noise, region, epsilon=8, epsilon_bg=2, grey=True)
    assert np.all(changed == 92)
