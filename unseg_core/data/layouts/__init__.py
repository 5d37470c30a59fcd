"""Layouts by name. Adding one is one file and one line in LAYOUTS (and its name in params.LayoutName)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unseg_core import storage
from unseg_core.data.layouts.ade20k import ADE20K
from unseg_core.data.layouts.cityscapes import CITYSCAPES
from unseg_core.data.layouts.coco import COCO
from unseg_core.data.layouts.coco_panoptic import COCO_PANOPTIC
from unseg_core.data.layouts.folder import FOLDER
from unseg_core.data.layouts.hqseg import HQSEG
from unseg_core.data.layouts.kvasir import KVASIR
from unseg_core.data.layouts.layout import Kind, Layout, Option, Request
from unseg_core.data.layouts.lung import LUNG
from unseg_core.data.layouts.nwpu import NWPU
from unseg_core.data.layouts.ssdd import SSDD
from unseg_core.data.layouts.voc import VOC
from unseg_core.data.layouts.whu import WHU
from unseg_core.errors import DataError, ParameterError

__all__ = ["DESCRIPTIONS", "LAYOUTS", "Kind", "Layout", "detect_layout", "open_layout"]

LAYOUTS: dict[str, Kind] = {
    "voc": VOC,
    "ade20k": ADE20K,
    "cityscapes": CITYSCAPES,
    "nwpu": NWPU,
    "ssdd": SSDD,
    "whu": WHU,
    "coco": COCO,
    "coco-panoptic": COCO_PANOPTIC,
    "hqseg": HQSEG,
    "lung": LUNG,
    "kvasir": KVASIR,
    "folder": FOLDER,
}
"""In the order in which `auto` tries them."""

DESCRIPTIONS = {name: kind.description for name, kind in LAYOUTS.items()}


def open_layout(
    name: str,
    root: str,
    *,
    classes: Sequence[str] | None = None,
    masks: str | None = None,
    split: str | None = None,
    annotations: str | None = None,
    whole: bool = False,
) -> Layout:
    """Open a data set.

    Args:
        name: a name in LAYOUTS, or "auto" to go by the folders that are there.
        root: folder or URL.
        classes: names of the classes 1, 2, ... of label maps; one name means binary masks. None or none: the layout's
            own, or as the data set's classes.json says ({"0": "background", "1": NAME, ...}), binary without one.
        masks: where the masks are, if not in the layout's own folder.
        split: samples of this split only; None or "" takes all.
        annotations: a COCO JSON file, if not in the layout's own place.
        whole: a `folder` needs no masks: where there are none, the whole image is one object.

    Raises:
        ParameterError: unknown layout or split, or an option that this layout does not have.
        DataError: the folders of the layout are not there.
    """
    if not storage.is_folder(root):
        raise DataError(f"{root} is not a folder; check the path")
    name = detect_layout(root, masks=masks, annotations=annotations) if name == "auto" else name
    if name not in LAYOUTS:
        raise ParameterError(f"layout {name!r} is unknown; choose auto or one of {', '.join(LAYOUTS)}")
    kind = LAYOUTS[name]
    _check_option(name, kind, "masks", masks)
    _check_option(name, kind, "annotations", annotations)
    given = tuple(classes or ())
    request = Request(root=root, classes=given, masks=masks, split=split or None, annotations=annotations or None)
    opened = kind.open(replace(request, whole=whole))
    if given and "classes" not in kind.options and given != opened.classes:
        raise ParameterError(f"layout {name} has its own {len(opened.classes)} classes; leave the classes out")
    return opened


def _check_option(name: str, kind: Kind, option: Option, value: str | None) -> None:
    if value and option not in kind.options:
        raise ParameterError(f"layout {name} has no option {option}; leave it out or choose another layout")


def detect_layout(root: str, *, masks: str | None = None, annotations: str | None = None) -> str:
    """The first layout whose folders are there; `folder` if no other.

    A given folder of masks or file of annotations leaves only the layouts that can have one.
    """
    if annotations:
        return "coco-panoptic" if "panoptic" in annotations.rsplit("/", 1)[-1] else "coco"
    needed = {"masks"} if masks else set()
    return next(name for name, kind in LAYOUTS.items() if needed <= kind.options and kind.detect(root))
