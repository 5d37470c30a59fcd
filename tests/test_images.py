"""Geometry, decoding and encoding."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unseg_core import images
from unseg_core.errors import ImageError
from unseg_core.protect.region import mask_prompt, protected_region

SIDES = st.integers(1, 70)


@given(height=SIDES, width=SIDES, side=st.integers(1, 64))
def test_network_input_pads_right_and_bottom_and_keeps_aspect(height: int, width: int, side: int) -> None:
    square = images.network_input(np.full((height, width, 3), 255, dtype=np.uint8), side)
    assert square.shape == (3, side, side)
    longer = max(height, width)
    inner = square[:, : max(1, side * height // longer - 1), : max(1, side * width // longer - 1)]
    assert inner.min() >= 0.0
    assert square.max() <= 1.0 + 1e-6
    if height == width:
        assert torch.allclose(square, torch.ones_like(square), atol=1e-6)
    if width > 2 * height and side >= 8:
        assert torch.all(square[:, -1] == 0.0)


@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES)
def test_nearest_takes_floor_of_scaled_index(height: int, width: int, new_height: int, new_width: int) -> None:
    numbered = np.arange(height * width).reshape(height, width)
    resized = images.resize_nearest(numbered, new_height, new_width)
    i, j = new_height - 1, new_width - 1
    assert resized.shape == (new_height, new_width)
    assert resized[i, j] == numbered[i * height // new_height, j * width // new_width]


@given(height=st.integers(1, 90), width=st.integers(1, 90), data=st.data())
def test_region_and_prompt_keep_every_object(height: int, width: int, data: st.DataObject) -> None:
    mask = np.zeros((height, width), dtype=bool)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top, height - 1)), data.draw(st.integers(left, width - 1))
    mask[top : bottom + 1, left : right + 1] = True
    region = protected_region(mask)
    assert region.shape == mask.shape
    assert region.any()
    # Up to 90 pixels the 256-pixel label is finer than the image: the region is the mask but for half-way pixels.
    assert (region ^ mask).mean() <= 0.1
    prompt = mask_prompt(mask, 64)
    assert prompt.shape == (1, 64, 64)
    assert set(prompt.unique().tolist()) <= {0.0, 255.0}
    assert prompt.any()


def test_object_of_one_pixel_in_a_large_image_is_not_lost() -> None:
    mask = np.zeros((3000, 2000), dtype=bool)
    mask[1234, 567] = True
    assert protected_region(mask)[1234, 567]
    assert mask_prompt(mask, 64).any()


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_png_comes_back_exactly_with_its_channels(mode: str, rng: np.random.Generator) -> None:
    source = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).convert(mode)
    if mode in ("RGBA", "LA"):
        source.putalpha(Image.fromarray(rng.integers(0, 256, (9, 7), dtype=np.uint8)))
    picture = images.decode_image(encoded(source, "PNG"), "a.png")
    again = Image.open(io.BytesIO(images.encode_image(picture.pixels, picture, "png")))
    expected = source.convert("RGB") if mode == "P" else source
    assert again.mode == expected.mode
    assert np.array_equal(np.asarray(again), np.asarray(expected))


def test_orientation_tag_is_carried_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (20, 10), (9, 8, 7)), "JPEG", exif=exif)
    picture = images.decode_image(data, "turned.jpg")
    assert picture.pixels.shape == (10, 20, 3)
    written = Image.open(io.BytesIO(images.encode_image(picture.pixels, picture, "jpeg")))
    assert written.getexif()[0x0112] == 6


def damaged() -> dict[str, bytes]:
    whole = encoded(Image.effect_noise((64, 64), 50), "JPEG")
    grey = encoded(Image.new("L", (8, 8)), "PNG")
    return {
        "empty": b"",
        "text": b"this is no image",
        "truncated": whole[: len(whole) // 2],
        "bomb": grey[:16] + (100_000).to_bytes(4, "big") + (100_000).to_bytes(4, "big") + grey[24:],
        "animated": encoded(
            Image.new("RGB", (8, 8)), "PNG", save_all=True, append_images=[Image.new("RGB", (8, 8), (1, 2, 3))]
        ),
        "16-bit": encoded(Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)), "PNG"),
        "cmyk": encoded(Image.new("CMYK", (8, 8)), "JPEG"),
        "tiff": encoded(Image.new("RGB", (8, 8)), "TIFF"),
    }


@pytest.mark.parametrize("kind", list(damaged()))
def test_unusable_image_is_refused_by_name(kind: str) -> None:
    with pytest.raises(ImageError, match=r"strange name\.png"):
        images.decode_image(damaged()[kind], "strange name.png")
