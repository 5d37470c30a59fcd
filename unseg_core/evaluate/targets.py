"""From the segments of an annotation to what each task is trained on, in the network's square."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch import Tensor

from unseg_core.data.sample import Annotation, Segment, mask_of
from unseg_core.evaluate.batch import Frame, Objects


def square_image(pixels_HWC: np.ndarray, side: int) -> Tensor:
    """uint8 [3, side, side]: zero-padded at the right and bottom to a square, resized (bilinear with antialias)."""
    height, width = pixels_HWC.shape[:2]
    longer = max(height, width)
    square = np.pad(pixels_HWC, ((0, longer - height), (0, longer - width), (0, 0)))
    resized = Image.fromarray(square).resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(resized).transpose(2, 0, 1).copy())


def objects_of(annotation: Annotation, frame: Frame, *, flip: bool = False) -> Objects:
    """All segments that are no crowds, with the boxes of their full-size masks; `flip` mirrors left and right."""
    segments = tuple(segment for segment in annotation.segments if not segment.is_crowd)
    masks = [_square_mask(segment, frame, flip=flip) for segment in segments]
    empty = np.zeros((0, frame.side, frame.side), dtype=bool)
    return Objects(
        masks=torch.from_numpy(np.stack(masks) if masks else empty),
        categories=torch.tensor([segment.category for segment in segments], dtype=torch.int64),
        boxes=_boxes(segments, frame, flip=flip),
        is_thing=torch.tensor([segment.is_thing for segment in segments], dtype=torch.bool),
    )


def _square_mask(segment: Segment, frame: Frame, *, flip: bool) -> np.ndarray:
    """bool [side, side]: nearest neighbour of half-pixel centres, False in the padding."""
    mask = mask_of(segment)
    mask = mask[:, ::-1] if flip else mask
    source = ((np.arange(frame.side) + 0.5) / frame.scale).astype(np.int64)
    rows, columns = source[source < frame.height], source[source < frame.width]
    square = np.zeros((frame.side, frame.side), dtype=bool)
    square[: len(rows), : len(columns)] = mask[rows[:, None], columns]
    return square


def _boxes(segments: tuple[Segment, ...], frame: Frame, *, flip: bool) -> Tensor:
    if not segments:
        return torch.zeros((0, 4))
    x, y, width, height = coco_mask.toBbox([segment.rle for segment in segments]).T
    left = frame.width - x - width if flip else x
    boxes = np.stack([left, y, left + width, y + height], axis=1) * frame.scale
    return torch.from_numpy(boxes.astype(np.float32))


def objects_of_labels(labels_HW: Tensor, classes: int) -> Objects:
    """One object for each of the classes 0, 1, ... that occurs in a label map; its category is one more."""
    present = [label for label in torch.unique(labels_HW).tolist() if label < classes]
    masks = torch.stack([labels_HW == label for label in present]) if present else labels_HW.new_zeros(0).bool()
    return Objects(
        masks=masks.reshape(-1, *labels_HW.shape),
        categories=torch.tensor(present, dtype=torch.int64, device=labels_HW.device) + 1,
        boxes=torch.zeros((len(present), 4), device=labels_HW.device),
        is_thing=torch.zeros(len(present), dtype=torch.bool, device=labels_HW.device),
    )
