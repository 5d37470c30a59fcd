"""Images and masks that are not what they should be: each has a clear outcome in the manifest."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_pairs
from PIL import Image
from test_protect import invoke, protect, settings, tree

from unseg_core import storage
from unseg_core.data.layouts import open_layout
from unseg_core.errors import DataError
from unseg_core.images import decode_image
from unseg_core.protect.engine import protect_dataset
from unseg_core.protect.manifest import Line, read_manifest
from unseg_core.protect.methods.uniform import UniformNoise
from unseg_core.protect.verify import verify_copy
from unseg_core.protect.writer import pixels_of


def saved(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def noise(mode: str = "RGB", width: int = 48, height: int = 40) -> Image.Image:
    channels = {"RGB": 3, "RGBA": 4, "CMYK": 4}.get(mode, 1)
    pixels = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels if channels > 1 else pixels[..., 0], mode if channels > 1 else "L")


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(noise(), format="PNG", exif=exif)


def animated() -> bytes:
    frames = [noise(), noise().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    return saved(frames[0], format="PNG", save_all=True, append_images=frames[1:])


def sixteen_bits() -> bytes:
    return saved(Image.fromarray(np.arange(40 * 48, dtype=np.uint16).reshape(40, 48)), format="PNG")


PROTECTED: dict[str, Callable[[], bytes]] = {
    "rgb": lambda: saved(noise(), format="PNG"),
    "rgba": lambda: saved(noise("RGBA"), format="PNG"),
    "palette": lambda: saved(noise().convert("P", palette=Image.Palette.ADAPTIVE, colors=64), format="PNG"),
    "one bit": lambda: saved(noise().convert("1"), format="PNG"),
    "grey": lambda: saved(noise("L"), format="PNG"),
    "rotated by EXIF": rotated,
    "bmp": lambda: saved(noise(), format="BMP"),
    "webp": lambda: saved(noise(), format="WEBP"),
    "jpeg called png": lambda: saved(noise(), format="JPEG"),
}
FAILED: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated": (lambda: saved(noise(), format="PNG")[:2000], "cannot be decoded"),
    "truncated jpeg": (lambda: saved(noise(), format="JPEG")[:900], "cannot be decoded"),
    "of no byte": (lambda: b"", "is empty (0 bytes)"),
    "text": (lambda: b"this is no image", "cannot be decoded"),
    "animated": (animated, "several frames"),
    "a gif": (lambda: saved(noise().convert("P"), format="GIF"), "is GIF; convert it"),
    "cmyk": (lambda: saved(noise("CMYK"), format="JPEG"), "pixel type CMYK"),
    "sixteen bits": (sixteen_bits, "pixel type I;16"),
}


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    root = write_pairs(tmp_path / "source", 1, rng)
    for name, data in {**PROTECTED, **{name: data for name, (data, _) in FAILED.items()}}.items():
        (root / "images" / f"{name}.png").write_bytes(data())
        Image.new("L", (48, 40), 255).save(root / "masks" / f"{name}.png")
    return root


def lines_of(copy: Path) -> dict[str, Line]:
    return {line.id: line for line in read_manifest(str(copy))[1]}


def test_every_kind_of_image_is_protected_within_the_budget_or_failed(source: Path, tmp_path: Path) -> None:
    protect(source, tmp_path / "copy")
    lines = lines_of(tmp_path / "copy")
    for name in PROTECTED:
        line = lines[name]
        assert (line.status, line.output) == ("protected", f"images/{name}.png"), line.reason
        jpeg = 4 if name == "jpeg called png" else 0
        assert 0 < (line.linf_inside or 0) <= 8 + jpeg
    for name, (_, reason) in FAILED.items():
        assert (lines[name].status, lines[name].output) == ("failed", None)
        assert name in str(lines[name].reason)
        assert reason in str(lines[name].reason)
        assert not (tmp_path / "copy" / "images" / f"{name}.png").exists()
    assert not verify_copy(str(tmp_path / "copy"), str(source)).differences


def test_form_and_metadata_stay(source: Path, tmp_path: Path) -> None:
    protect(source, tmp_path / "copy")
    images = tmp_path / "copy" / "images"
    with Image.open(images / "rotated by EXIF.png") as image:
        assert image.getexif()[0x0112] == 6
        assert image.size == (48, 40)
    with Image.open(images / "rgba.png") as image, Image.open(source / "images" / "rgba.png") as original:
        assert image.getchannel("A").tobytes() == original.getchannel("A").tobytes()
    with Image.open(images / "jpeg called png.png") as image:
        assert image.format == "JPEG"


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (1, 20_000)])
def test_images_of_a_line(tmp_path: Path, rng: np.random.Generator, size: tuple[int, int]) -> None:
    source = write_pairs(tmp_path / "source", 1, rng)
    noise("RGB", *size).save(source / "images" / "thin.png")
    Image.new("L", size, 255).save(source / "masks" / "thin.png")
    protect(source, tmp_path / "copy")
    line = lines_of(tmp_path / "copy")["thin"]
    assert line.status == "protected"
    assert (line.linf_inside or 0) <= 8
    assert not verify_copy(str(tmp_path / "copy"), str(source)).differences


@pytest.mark.slow
def test_a_giant_image_among_small_ones(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 3, rng)
    Image.new("RGB", (12_000, 9_000), (90, 120, 30)).save(source / "images" / "giant.png", compress_level=1)
    Image.new("L", (12_000, 9_000), 255).save(source / "masks" / "giant.png", compress_level=1)
    protect(source, tmp_path / "copy", workers=4)
    line = lines_of(tmp_path / "copy")["giant"]
    assert (line.status, line.linf_inside) == ("protected", 8)


def test_pictures_that_are_not_protected_are_told(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 2, rng)
    data = (source / "images" / "photo 00.png").read_bytes()
    (source / "images" / "phone").mkdir()
    for path in ("images/phone/one.HEIC", "images/moving.gif", "figures/plot.png", "all.tar.gz", "notes.txt"):
        (source / path).parent.mkdir(exist_ok=True)
        (source / path).write_bytes(data)
    summary = protect(source, tmp_path / "copy")
    named = ["all.tar.gz", "images/moving.gif", "images/phone/one.HEIC"]
    assert summary["other_pictures"] == {"count": 3, "named": named}
    card = (tmp_path / "copy" / "DATASET_CARD.md").read_text()
    assert "- `images/moving.gif`" in card
    assert "plot.png" not in card
    assert verify_copy(str(tmp_path / "copy"), str(source)).other_pictures == 3
    for command in (["protect", source, tmp_path / "again"], ["protect", source, tmp_path / "again", "--dry-run"]):
        assert "3 of them, such as all.tar.gz" in invoke(*command, "--overwrite").stdout
    assert "; 3 other pictures or archives" in invoke("verify", tmp_path / "copy", "--against", source).stdout


def test_names_with_spaces_and_unicode_and_the_same_stem(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 2, rng)
    for folder in ("a", "b"):
        for kind in ("images", "masks"):
            (source / kind / folder).mkdir()
            data = (source / kind / "photo 00.png").read_bytes()
            for name in ("same", "gr\u00fc\u00df \u732b", "line\u2028break", "'quoted\" name"):
                (source / kind / folder / f"{name}.png").write_bytes(data)
    protect(source, tmp_path / "copy")
    assert set(tree(source)) <= set(tree(tmp_path / "copy"))
    lines = lines_of(tmp_path / "copy")
    assert len(lines) == 10
    assert all(line.status == "protected" for line in lines.values())
    assert not verify_copy(str(tmp_path / "copy"), str(source)).differences


@pytest.mark.parametrize("place", ["images", "notes"])
def test_names_that_are_no_text_are_told_before_any_work(tmp_path: Path, rng: np.random.Generator, place: str) -> None:
    source = write_pairs(tmp_path / "source", 2, rng)
    (source / place).mkdir(exist_ok=True)
    (source / place / os.fsdecode(b"caf\xe9.png")).write_bytes(saved(noise(), format="PNG"))
    with pytest.raises(DataError, match=r"caf\\xe9.png' below .* has a name that is not UTF-8; rename it"):
        protect(source, tmp_path / "copy")
    assert not list(tmp_path.glob("copy/images/*"))


def test_a_small_file_may_hold_many_pixels() -> None:
    """Such images count in the memory that is shared out; small ones do not."""
    assert pixels_of(saved(Image.new("1", (4000, 4000)), format="PNG")) == 16_000_000
    assert pixels_of(saved(noise(), format="PNG")) == 0
    assert pixels_of(b"no image") == 0


def test_what_is_transparent_is_not_written_as_jpeg(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 2, rng)
    picture = noise("RGBA")
    picture.putalpha(Image.new("L", picture.size, 100))
    picture.save(source / "images" / "photo 00.png")
    protect(source, tmp_path / "copy", image_format="jpeg")
    clear, other = (lines_of(tmp_path / "copy")[name] for name in ("photo 00", "photo 01"))
    assert (clear.status, other.status) == ("failed", "protected")
    assert "transparent in places, which JPEG cannot be" in str(clear.reason)


def test_photographs_elsewhere_are_told(tmp_path: Path, rng: np.random.Generator) -> None:
    """PNG are not: they may be labels of another kind."""
    source = write_pairs(tmp_path / "source", 2, rng)
    for path in ("originals/photo 00.jpg", "instances/photo 00.png"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        noise().save(source / path)
    summary = protect(source, tmp_path / "copy")
    assert summary["other_pictures"] == {"count": 1, "named": ["originals/photo 00.jpg"]}


def test_copies_that_would_share_a_name_fail(tmp_path: Path, rng: np.random.Generator) -> None:
    """`first.jpg` as PNG would overwrite `first.png`, which is carried over; nothing is in the way of `second.jpg`."""
    source = write_pairs(tmp_path / "source", 2, rng, extension="jpg")
    images = [{"id": i, "file_name": f"photo {i:02d}.jpg", "width": 48, "height": 40} for i in range(2)]
    segments = [
        {"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "area": 200, "bbox": [5, 5, 20, 10]} for i in range(2)
    ]
    corners = [5, 5, 25, 5, 25, 15, 5, 15]
    contents = {
        "images": images,
        "annotations": [{**segment, "segmentation": [corners]} for segment in segments],
        "categories": [{"id": 1, "name": "disc"}],
    }
    (source / "instances.json").write_text(json.dumps(contents))
    (source / "images" / "photo 00.png").write_bytes(b"not in the JSON")
    layout = open_layout("coco", str(source), annotations="instances.json")
    how = settings(image_format="png", layout="coco", classes=("disc",))
    protect_dataset(layout, UniformNoise(), how, str(tmp_path / "copy"))
    lines = {line.image: line for line in lines_of(tmp_path / "copy").values()}
    assert lines["images/photo 00.jpg"].status == "failed"
    assert "the name of another file" in str(lines["images/photo 00.jpg"].reason)
    assert lines["images/photo 01.jpg"].output == "images/photo 01.png"
    assert (tmp_path / "copy" / "images" / "photo 00.png").read_bytes() == b"not in the JSON"


def test_masks_that_do_not_fit(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 4, rng)
    Image.new("L", (40, 48), 255).save(source / "masks" / "photo 00.png")
    (source / "masks" / "photo 01.png").write_bytes(b"")
    (source / "classes.json").write_text('{"0": "background", "1": "cat", "2": "dog"}')
    Image.new("L", (48, 40), 7).save(source / "masks" / "photo 02.png")
    Image.new("L", (48, 40), 2).save(source / "masks" / "photo 03.png")
    protect(source, tmp_path / "copy", classes=("cat", "dog"))
    lines = lines_of(tmp_path / "copy")
    reasons = {name: str(line.reason) for name, line in lines.items() if line.status == "failed"}
    assert set(reasons) == {"photo 00", "photo 01", "photo 02"}
    assert "40x48 but the image 48x40" in reasons["photo 00"]
    assert "is empty" in reasons["photo 01"]
    assert "[7]" in reasons["photo 02"]


def test_links_that_lead_nowhere_and_in_circles(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 2, rng)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "terms.txt").write_text("linked")
    (source / "linked").symlink_to(elsewhere)
    protect(source, tmp_path / "copy")
    assert (tmp_path / "copy" / "linked" / "terms.txt").read_text() == "linked"
    (source / "absent.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"absent\.txt is a link to nothing; remove it"):
        protect(source, tmp_path / "other")
    (source / "absent.txt").unlink()
    (source / "linked" / "again").symlink_to(source)
    with pytest.raises(DataError, match="link to a folder above"):
        list(storage.list_files(str(source)))


def test_jpeg_exceeds_by_two_levels_on_few_pixels(real_data: Path, tmp_path: Path) -> None:
    """Real photographs as JPEG, written again at quality 100 without chroma subsampling."""
    source = tmp_path / "source"
    pairs = open_layout("folder", str(real_data / "kvasir"), classes=("object",))
    for sample, _ in zip(pairs.samples(), range(6), strict=False):
        for path in (sample.image, *sample.files):
            storage.copy_file(storage.join(pairs.root, path), storage.join(str(source), path))
    protect(source, tmp_path / "jpeg")
    protect(source, tmp_path / "png", image_format="png")
    for line in lines_of(tmp_path / "jpeg").values():
        data = (tmp_path / "jpeg" / str(line.output)).read_bytes()
        assert decode_image(data, line.id).format == "jpeg"
        assert line.excess_share is not None
        assert line.excess_share <= 0.001, (line.id, line.linf_inside, line.linf_outside)
    exact = lines_of(tmp_path / "png").values()
    assert all((line.linf_inside, line.linf_outside, line.excess_share) == (8, 2, 0.0) for line in exact)
