"""Geometry, decoding and encoding."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from unseg_core import image_tensors, images
from unseg_core.errors import ImageError
from unseg_core.exif import without_thumbnail
from unseg_core.protect.mask_prompt import mask_prompt
from unseg_core.protect.region import protected_region

SIDES = st.integers(1, 70)


@given(height=st.integers(1, 600), width=st.integers(1, 600), side=st.sampled_from([64, 512]))
@settings(max_examples=40, deadline=None)
def test_network_input_of_a_part_is_that_of_the_square(height: int, width: int, side: int) -> None:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    whole = image_tensors.network_input(pixels, side)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_tensors, "WHOLE", 0)
        part = image_tensors.network_input(pixels, side)
    assert part.shape == (3, side, side)
    assert torch.allclose(part, whole, atol=1e-5)


@given(height=st.integers(1, 600), width=st.integers(1, 600), side=st.sampled_from([16, 64, 256]))
@settings(max_examples=40, deadline=None)
def test_enlarged_part_is_that_of_the_enlarged_square(height: int, width: int, side: int) -> None:
    noise = torch.from_numpy(np.random.default_rng(width).uniform(-1, 1, (3, side, side)).astype(np.float32))
    whole = image_tensors.enlarge_to(noise, height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_tensors, "WHOLE", 0)
        part = image_tensors.enlarge_to(noise, height, width)
    assert part.shape == (3, height, width)
    assert torch.allclose(part, whole, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (1, 1)])
def test_a_line_of_pixels_needs_no_square_of_memory(shape: tuple[int, int]) -> None:
    assert image_tensors.network_input(np.zeros((*shape, 3), dtype=np.uint8), 512).shape == (3, 512, 512)
    assert image_tensors.enlarge_to(torch.ones(3, 64, 64), *shape).shape == (3, *shape)
    picture = images.decode_image(encoded(Image.new("RGB", shape), "PNG"), "line.png")
    for kind in ("png", "jpeg", "tiff"):
        again = images.decode_image(images.encode_image(picture.pixels, picture, kind), "line")
        assert np.array_equal(again.pixels, picture.pixels)


@given(height=SIDES, width=SIDES, side=st.integers(1, 64))
@settings(deadline=None)
def test_network_input_pads_right_and_bottom_and_keeps_aspect(height: int, width: int, side: int) -> None:
    square = image_tensors.network_input(np.full((height, width, 3), 255, dtype=np.uint8), side)
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
@settings(deadline=None)
def test_nearest_takes_floor_of_scaled_index(height: int, width: int, new_height: int, new_width: int) -> None:
    numbered = np.arange(height * width).reshape(height, width)
    resized = images.resize_nearest(numbered, new_height, new_width)
    i, j = new_height - 1, new_width - 1
    assert resized.shape == (new_height, new_width)
    assert resized[i, j] == numbered[i * height // new_height, j * width // new_width]


@given(height=st.integers(1, 90), width=st.integers(1, 90), data=st.data())
@settings(deadline=None)
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


def test_small_objects_beside_a_large_one_are_not_lost() -> None:
    mask, small = np.zeros((600, 3000), dtype=bool), np.zeros((600, 3000), dtype=bool)
    mask[100:400, 200:900] = True
    for place in range(1000, 2900, 100):
        small[250:256, place + place // 300 : place + place // 300 + 5] = True
    mask |= small
    region, older = protected_region(mask), protected_region(mask, each_object=False)
    assert region[small].mean() > 0.9
    assert older[small].mean() < 0.5
    assert np.array_equal(region & ~small, older & ~small)


def test_thin_objects_are_kept_whole() -> None:
    mask = np.zeros((1000, 1000), dtype=bool)
    mask[:, 301:304] = mask[501:504] = True
    assert protected_region(mask)[mask].all()
    assert protected_region(mask, each_object=False)[mask].mean() < 0.8


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


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "P"])
def test_bmp_comes_back_exactly(mode: str, rng: np.random.Generator) -> None:
    source = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).convert(mode)
    picture = images.decode_image(encoded(source, "BMP"), "a.bmp")
    again = Image.open(io.BytesIO(images.encode_image(picture.pixels, picture, "bmp")))
    expected = source.convert({"P": "RGB", "1": "L"}.get(mode, mode))
    assert (picture.format, again.format, again.mode) == ("bmp", "BMP", expected.mode)
    assert np.array_equal(np.asarray(again), np.asarray(expected))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [True, False])
def test_webp_is_written_without_loss_and_with_its_metadata(
    mode: str, lossless: bool, rng: np.random.Generator
) -> None:
    source = Image.fromarray(rng.integers(0, 256, (9, 7, 4), dtype=np.uint8)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"lossless": lossless, "exact": True, "exif": exif, "icc_profile": b"profile"}
    picture = images.decode_image(encoded(source, "WEBP", **options), "a.webp")
    changed = picture.pixels ^ 1
    again = Image.open(io.BytesIO(images.encode_image(changed, picture, "webp")))
    assert (again.format, again.mode, again.getexif()[0x0112]) == ("WEBP", mode, 6)
    assert again.info["icc_profile"] == b"profile"
    assert np.array_equal(np.asarray(again.convert("RGB")), changed)
    if mode == "RGBA":
        assert np.array_equal(np.asarray(again.getchannel("A")), picture.alpha)


def test_of_several_pictures_in_a_jpeg_the_first_is_the_image(rng: np.random.Generator) -> None:
    """Phones write depth or a preview behind it (MPO), which must not be in the copy."""
    shown, hidden = (Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)) for _ in range(2))
    data = encoded(shown, "MPO", save_all=True, append_images=[hidden], quality=100, subsampling=0)
    picture = images.decode_image(data, "phone.jpg")
    written = images.encode_image(picture.pixels, picture, "jpeg")
    again = Image.open(io.BytesIO(written))
    assert (picture.format, again.format, getattr(again, "n_frames", 1)) == ("jpeg", "JPEG", 1)
    assert np.abs(picture.pixels.astype(int) - np.asarray(shown)).max() <= 4
    assert written.count(b"\xff\xd8\xff") == 1


def exif_with_thumbnail(order: str, *, is_last: bool) -> tuple[bytes, bytes]:
    """EXIF with orientation 6 and a thumbnail, as a camera writes it; and the thumbnail."""
    thumbnail = encoded(Image.effect_noise((16, 12), 80), "JPEG")
    behind = b"" if is_last else b"maker's note"
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    first = struct.pack(f"{order}HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 26)
    second = struct.pack(f"{order}HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(thumbnail), 0)
    body = mark + struct.pack(f"{order}I", 8) + first + second + thumbnail + behind
    return b"Exif\0\0" + body, thumbnail


def thumbnail_tags(exif: bytes) -> dict[int, object]:
    tags = Image.Exif()
    tags.load(exif)
    return tags.get_ifd(ExifTags.IFD.IFD1)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_last", [True, False])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_thumbnail_does_not_stay(kind: str, order: str, is_last: bool) -> None:
    exif, thumbnail = exif_with_thumbnail(order, is_last=is_last)
    data = encoded(Image.new("RGB", (20, 10), (9, 8, 7)), kind, exif=exif)
    assert thumbnail in data
    assert thumbnail_tags(exif)
    picture = images.decode_image(data, "camera.jpg")
    written = images.encode_image(picture.pixels, picture, picture.format)
    assert thumbnail[20:] not in written
    with Image.open(io.BytesIO(written)) as again:
        assert again.getexif()[0x0112] == 6
        assert not thumbnail_tags(again.info["exif"])
    assert is_last or b"maker's note" in written


@given(start=st.integers(0, 80), garbage=st.binary(min_size=1, max_size=8))
@settings(deadline=None)
def test_damaged_exif_is_left_or_loses_its_thumbnail(start: int, garbage: bytes) -> None:
    exif, _ = exif_with_thumbnail("<", is_last=True)
    damaged = exif[:start] + garbage + exif[start + len(garbage) :]
    for one in (damaged, damaged[:start]):
        once = without_thumbnail(one)
        assert len(once) <= len(one)
        assert without_thumbnail(once) == once, "nothing is left to take"


def test_orientation_tag_is_carried_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (20, 10), (9, 8, 7)), "JPEG", exif=exif)
    picture = images.decode_image(data, "turned.jpg")
    assert picture.pixels.shape == (10, 20, 3)
    written = Image.open(io.BytesIO(images.encode_image(picture.pixels, picture, "jpeg")))
    assert written.getexif()[0x0112] == 6


def colours_of_16_bits() -> bytes:
    """A PNG of RGB with 16 bits a channel, which PIL would open as if it had 8."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    lines = zlib.compress((b"\0" + b"\x9c\x40" * 24) * 8)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def tiff_of_samples(samples: int, bits: int, extra: int | None = None) -> bytes:
    """A TIFF of 8x8 pixels as other programs write them; `extra` says what the fourth band is."""
    pixels = bytes(8 * 8 * samples * bits // 8)
    entries = [
        (256, 3, 1, 8), (257, 3, 1, 8), (258, 3, samples, 0), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8),
        (277, 3, 1, samples), (278, 3, 1, 8), (279, 4, 1, len(pixels)),
    ]  # fmt: skip
    if extra is not None:
        entries.append((338, 3, 1, extra))
    bits_at = 8 + len(pixels) + 2 + 12 * len(entries) + 4
    directory = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        directory += struct.pack("<HHII", tag, kind, count, bits_at if tag == 258 else value)
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(pixels))
        + pixels
        + directory
        + bytes(4)
        + struct.pack(f"<{samples}H", *[bits] * samples)
    )


def bmp_with_alpha() -> bytes:
    """8x8 pixels of four bytes with a mask for each channel (BITMAPV4HEADER)."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 8, 8, 1, 32, 3, 256, 2835, 2835, 0, 0) + masks + bytes(52)
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + 256, 0, 0, 14 + len(header)) + header + bytes(256)


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_tiff_comes_back_exactly_with_its_tags(mode: str, compression: str, rng: np.random.Generator) -> None:
    source = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).convert(mode)
    if mode in ("RGBA", "LA"):
        source.putalpha(Image.fromarray(rng.integers(0, 256, (9, 7), dtype=np.uint8)))
    tags = ImageFileDirectory_v2()
    for tag, kind, value in ((33550, 12, (0.5, 0.5, 0.0)), (34735, 3, (1, 1, 0, 1)), (270, 2, "a place")):
        tags.tagtype[tag] = kind
        tags[tag] = value
    data = encoded(source, "TIFF", compression=compression, tiffinfo=tags, icc_profile=b"profile")
    picture = images.decode_image(data, "a.tif")
    assert picture.format == "tiff"
    again = Image.open(io.BytesIO(images.encode_image(picture.pixels, picture, "tiff")))
    assert isinstance(again, TiffImageFile)
    assert np.array_equal(np.asarray(again), np.asarray(source))
    assert (again.mode, again.info["compression"], again.info["icc_profile"]) == (mode, compression, b"profile")
    assert [again.tag_v2[tag] for tag in (33550, 34735, 270)] == [(0.5, 0.5, 0.0), (1, 1, 0, 1), "a place"]


def test_tiff_compressed_with_loss_is_written_without(rng: np.random.Generator) -> None:
    source = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    picture = images.decode_image(encoded(source, "TIFF", compression="jpeg"), "a.tif")
    again = Image.open(io.BytesIO(images.encode_image(picture.pixels, picture, "tiff")))
    assert again.info["compression"] == "tiff_adobe_deflate"
    assert np.array_equal(np.asarray(again), picture.pixels)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_black_and_white_is_written_as_grey(kind: str) -> None:
    picture = images.decode_image(encoded(Image.new("1", (8, 8), 1), kind), "a")
    assert picture.grey
    assert picture.pixels.min() == 255
    again = Image.open(io.BytesIO(images.encode_image(picture.pixels, picture, picture.format)))
    assert again.mode == "L"


def test_transparent_palette_keeps_its_alpha() -> None:
    source = Image.new("P", (2, 1))
    source.putpalette([10, 20, 30, 40, 50, 60])
    source.putpixel((1, 0), 1)
    picture = images.decode_image(encoded(source, "PNG", transparency=1), "a.png")
    assert picture.pixels.tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255, 0]]


def test_what_jpeg_cannot_hold_is_refused() -> None:
    picture = images.Picture(pixels=np.zeros((1, 70_000, 3), dtype=np.uint8), format="png")
    with pytest.raises(ImageError, match="cannot be written as jpeg"):
        images.encode_image(picture.pixels, picture, "jpeg")


@given(ids=arrays(np.int32, (5, 7), elements=st.integers(0, 2**24 - 1)))
@settings(deadline=None)
def test_ids_are_read_from_colours(ids: np.ndarray) -> None:
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65_536], axis=-1).astype(np.uint8)
    assert np.array_equal(images.decode_id_map(encoded(Image.fromarray(colours), "PNG"), "a"), ids)


def test_ids_are_read_from_grey_and_never_from_what_loses_them() -> None:
    deep = np.array([[0, 33_001], [65_535, 7]], dtype=np.uint16)
    assert np.array_equal(images.decode_id_map(encoded(Image.fromarray(deep), "PNG"), "a"), deep)
    shallow = deep.astype(np.uint8)
    assert np.array_equal(images.decode_id_map(encoded(Image.fromarray(shallow), "PNG"), "a"), shallow)
    for data in (
        encoded(Image.fromarray(shallow), "JPEG"),
        colours_of_16_bits(),
        encoded(Image.new("P", (2, 2)), "PNG"),
    ):
        with pytest.raises(ImageError, match="strange"):
            images.decode_id_map(data, "strange")


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
        "16-bit colours": colours_of_16_bits(),
        "two pages": encoded(
            Image.new("RGB", (8, 8)), "TIFF", save_all=True, append_images=[Image.new("RGB", (8, 8), (1, 2, 3))]
        ),
        "cmyk tiff": encoded(Image.new("CMYK", (8, 8)), "TIFF"),
        "16-bit tiff": encoded(Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)), "TIFF"),
        "16-bit colour tiff": tiff_of_samples(3, 16),
        "float tiff": encoded(Image.new("F", (8, 8)), "TIFF"),
        "four bands": tiff_of_samples(4, 8, extra=0),
        "premultiplied": tiff_of_samples(4, 8, extra=1),
        "bmp with alpha": bmp_with_alpha(),
        "gif": encoded(Image.new("L", (8, 8)), "GIF"),
        "animated webp": encoded(
            Image.new("RGB", (8, 8)), "WEBP", save_all=True, append_images=[Image.new("RGB", (8, 8), (250, 90, 9))]
        ),
    }


@pytest.mark.parametrize("kind", list(damaged()))
def test_unusable_image_is_refused_by_name(kind: str) -> None:
    with pytest.raises(ImageError, match=r"strange name\.png"):
        images.decode_image(damaged()[kind], "strange name.png")
