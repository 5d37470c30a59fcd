"""Any image, any mask, any RLE: a run ends, every image has an outcome, and what was written keeps the budget."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask
from test_protect import settings as run_settings

from unseg_core.data.layouts import open_layout
from unseg_core.protect.engine import protect_dataset
from unseg_core.protect.manifest import Line, read_manifest
from unseg_core.protect.methods.uniform import UniformNoise
from unseg_core.protect.verify import verify_copy

SIDES = st.integers(1, 40)
MODES = st.sampled_from(["RGB", "L", "RGBA", "P", "1", "I;16", "LA"])


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """An image with its annotation, and whether both can be used."""

    width: int
    height: int
    mode: str
    annotation: Any
    usable: bool
    mask: np.ndarray


def picture(drawn: Drawn) -> Image.Image:
    pixels = np.random.default_rng(drawn.width).integers(0, 256, (drawn.height, drawn.width, 3), dtype=np.uint8)
    if drawn.mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
    return Image.fromarray(pixels).convert(drawn.mode)


@st.composite
def with_rle(draw: st.DrawFn) -> Drawn:
    """A COCO segmentation: an RLE that is right, uncompressed or not, or one that is wrong in some way."""
    height, width, mode = draw(SIDES), draw(SIDES), draw(MODES)
    mask = draw(arrays(np.bool_, (height, width)))
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = code["counts"].decode()
    runs = np.diff(np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=[False], append=[not mask.ravel("F")[-1]])))
    first = int(np.argmax(mask.ravel("F"))) if mask.any() else mask.size
    counts = [first, *runs.tolist()] if mask.any() else [mask.size]
    counts[-1] += mask.size - sum(counts)
    size = [height, width]
    good = st.sampled_from([{"size": size, "counts": text}, {"size": size, "counts": counts}])
    bad = st.one_of(
        st.just({"size": [height + 1, width], "counts": text}),
        st.just({"size": size, "counts": [*counts, 3]}),
        st.just({"size": size, "counts": [mask.size + 1]}),
        st.just({"size": size, "counts": [-1, mask.size + 1]}),
        st.just({"size": size}),
        st.just(None),
        st.just("text"),
        st.just([[1.0, 2.0, 3.0]]),
    )
    usable = draw(st.booleans())
    annotation = draw(good if usable else bad)
    return Drawn(
        width=width, height=height, mode=mode, annotation=annotation, usable=usable and mode != "I;16", mask=mask
    )


@given(several=st.lists(with_rle(), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_any_rle(several: list[Drawn]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "source"
        images, annotations = [], []
        for i, drawn in enumerate(several):
            images.append({"id": i, "file_name": f"{i}.png", "width": drawn.width, "height": drawn.height})
            annotations.append({"id": i, "image_id": i, "category_id": 1, "segmentation": drawn.annotation})
            (root / "images").mkdir(parents=True, exist_ok=True)
            picture(drawn).save(root / "images" / f"{i}.png")
        contents = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
        (root / "annotations.json").write_text(json.dumps(contents))
        assert_outcomes(root, Path(folder) / "copy", several, "coco")


@st.composite
def with_mask(draw: st.DrawFn) -> Drawn:
    """A label map of two classes and the ignored value, or one of another size or with other values."""
    height, width, mode = draw(SIDES), draw(SIDES), draw(MODES)
    kind = draw(st.sampled_from(["right", "right", "other size", "other value"]))
    values = draw(arrays(np.uint8, (height, width), elements=st.sampled_from([0, 1, 2, 255])))
    mask = (values > 0) & (values < 255)
    if kind == "other size":
        values = np.pad(values, ((0, draw(st.integers(0, 3))), (0, draw(st.integers(1, 3)))))
    if kind == "other value":
        values[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = draw(st.integers(3, 254))
    usable = kind == "right" and mode != "I;16"
    return Drawn(width=width, height=height, mode=mode, annotation=values, usable=usable, mask=mask)


@given(several=st.lists(with_mask(), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_any_label_map(several: list[Drawn]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "source"
        for i, drawn in enumerate(several):
            for kind in ("images", "masks"):
                (root / kind).mkdir(parents=True, exist_ok=True)
            picture(drawn).save(root / "images" / f"{i}.png")
            Image.fromarray(drawn.annotation).save(root / "masks" / f"{i}.png")
        assert_outcomes(root, Path(folder) / "copy", several, "folder", classes=("cat", "dog"))


def assert_outcomes(root: Path, target: Path, several: list[Drawn], name: str, **how: Any) -> None:
    """Never an exception, and exactly the images that can be used are protected or have no target."""
    layout = open_layout(name, str(root), classes=how.get("classes", ()))
    protect_dataset(layout, UniformNoise(), run_settings(layout=name, **how), str(target), workers=1)
    lines = {Path(line.image).stem: line for line in read_manifest(str(target))[1]}
    assert len(lines) == len(several)
    for i, drawn in enumerate(several):
        assert_outcome(lines[str(i)], root, target, drawn)
    checked = verify_copy(str(target), str(root), layout=layout)
    assert (checked.differences, checked.over_budget) == ((), ())


def assert_outcome(line: Line, root: Path, target: Path, drawn: Drawn) -> None:
    expected = "failed" if not drawn.usable else "protected" if drawn.mask.any() else "no_target"
    assert line.status == expected, line.reason
    assert (target / line.image).exists() == drawn.usable
    if not drawn.usable:
        assert line.reason
        return
    before, after = (np.asarray(Image.open(base / line.image).convert("RGB")).astype(int) for base in (root, target))
    change = np.abs(after - before).max()
    assert change == max(line.linf_inside or 0, line.linf_outside or 0)
    assert change <= (8 if drawn.mask.any() else 0)
