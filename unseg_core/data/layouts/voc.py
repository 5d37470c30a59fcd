"""PASCAL VOC 2012 (Everingham et al., IJCV 2010) with the labels of SBD (Hariharan et al., ICCV 2011) where they are.

Samples are the images that have a label map; those of a split are the ones that its list names.
"""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath

from unseg_core import storage
from unseg_core.data.layouts.layout import Kind, Layout, Request, below, first_base
from unseg_core.data.layouts.pairs import PairsLayout, by_stem, read_label_map
from unseg_core.data.layouts.splits import Split, listed, unknown_split
from unseg_core.errors import DataError

BASES = ("", "VOC2012", "VOCdevkit/VOC2012")
LABELS = ("SegmentationClassAug", "SegmentationClass")
IMAGES, LISTS = "JPEGImages", "ImageSets/Segmentation"

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def open_voc(request: Request) -> Layout:
    root, found = request.root, _find(request.root)
    if found is None:
        raise DataError(
            f"{root} has no {IMAGES}/ beside {LABELS[0]}/ or {LABELS[1]}/; give VOCdevkit or VOCdevkit/VOC2012"
        )
    base, labels = found
    folder = storage.join(root, below(base, IMAGES))
    images = {one: below(base, f"{IMAGES}/{path}") for one, path in by_stem(folder, storage.list_files(folder)).items()}
    masks_folder = storage.join(root, below(base, labels))
    masks = by_stem(masks_folder, storage.list_files(masks_folder))
    chosen = _chosen(root, base, request.split, images, masks)
    classes = request.classes or CLASSES
    return PairsLayout(
        name="voc",
        root=root,
        classes=classes,
        images=chosen.images,
        masks_folder=masks_folder,
        masks=chosen.masks,
        own_masks=below(base, labels),
        read=partial(read_label_map, classes=len(classes)),
        missing=chosen.missing,
    )


def _find(root: str) -> tuple[str, str] | None:
    """The folder that VOC is in, and the one of its labels."""
    for labels in LABELS:
        base = first_base(root, BASES, IMAGES, labels)
        if base is not None:
            return base, labels
    return None


def _chosen(root: str, base: str, split: str | None, images: dict[str, str], masks: dict[str, str]) -> Split:
    if split is None:
        return Split(images={one: image for one, image in images.items() if one in masks}, masks=masks)
    path = below(base, f"{LISTS}/{split}.txt")
    if storage.exists(storage.join(root, path)):
        return listed(root, path, images, masks)
    lists = storage.members(storage.join(root, below(base, LISTS)))
    raise unknown_split(root, split, [PurePosixPath(name).stem for name in lists])


VOC = Kind(
    open=open_voc,
    detect=lambda root: _find(root) is not None,
    description="VOCdevkit/VOC2012: JPEGImages/, SegmentationClassAug/ or SegmentationClass/; --split is a list's "
    "name; other classes than VOC's with --classes",
    options=frozenset({"classes"}),
)
