"""What downstream models find, at the original size of the image, and how it comes there from the network's.

Post-processing is the same for every model: one way back to the image's pixels, one way from scored masks to instances
and to a panoptic map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from unseg_core.evaluate.batch import Frame
from unseg_core.image_tensors import enlarge_to

MAX_INSTANCES = 100
"""Of an image, as COCO scores them."""
CHUNK = 16
"""Masks that are enlarged at one time."""


@dataclass(frozen=True, kw_only=True)
class Instances:
    """Scored objects of one image, best first."""

    scores: np.ndarray
    """float64 [N]"""
    categories: np.ndarray
    """int64 [N]: 1, 2, ..."""
    boxes: np.ndarray
    """float64 [N, 4]: x0, y0, x1, y1 in pixels of the image"""
    rles: tuple[dict[str, object], ...] | None
    """Compressed COCO RLE; None for detectors."""


@dataclass(frozen=True, kw_only=True)
class Panoptic:
    """Segments of one image that do not overlap."""

    ids: np.ndarray
    """int32 [H, W]: 0 where nothing was found, else a key of `categories`"""
    categories: dict[int, int]


def enlarged(logits_Nss: Tensor, frame: Frame) -> Tensor:
    """Logits of the network's square to those of the image's pixels, [N, height, width]."""
    return enlarge_to(logits_Nss, frame.height, frame.width)


def enlarged_masks(logits_Nss: Tensor, frame: Frame) -> np.ndarray:
    """The same as bool masks: logit above 0."""
    masks: np.ndarray = (enlarged(logits_Nss.float(), frame) > 0).cpu().numpy()
    return masks


def instances(scores_N: Tensor, categories_N: Tensor, logits_Nss: Tensor, frame: Frame) -> Instances:
    """The best-scored masks of one image; boxes are the masks' extents, and masks without a pixel are left out.

    Args:
        scores_N: any order.
        categories_N: 1, 2, ...
        logits_Nss: of the network's square, at any resolution.
    """
    order = scores_N.argsort(descending=True, stable=True)[:MAX_INSTANCES]
    rles: list[dict[str, object]] = []
    for part in torch.split(order, CHUNK) if len(order) else ():
        masks = enlarged_masks(logits_Nss[part], frame)
        rles += [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    kept = [i for i, rle in enumerate(rles) if coco_mask.area(rle) > 0]
    kept_rles = tuple(rles[i] for i in kept)
    chosen = order[torch.tensor(kept, dtype=torch.long, device=order.device)]
    return Instances(
        scores=scores_N[chosen].double().cpu().numpy(),
        categories=categories_N[chosen].cpu().numpy(),
        boxes=_corners(coco_mask.toBbox(list(kept_rles)).reshape(-1, 4)) if kept_rles else np.zeros((0, 4)),
        rles=kept_rles,
    )


def detections(scores_N: Tensor, categories_N: Tensor, boxes_N4: Tensor, frame: Frame) -> Instances:
    """The best-scored boxes of one image, cut at its border.

    Args:
        boxes_N4: x0, y0, x1, y1 in network pixels.
    """
    order = scores_N.argsort(descending=True, stable=True)[:MAX_INSTANCES]
    boxes = boxes_N4[order].double().cpu().numpy() / frame.scale
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, frame.width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, frame.height)
    return Instances(
        scores=scores_N[order].double().cpu().numpy(),
        categories=categories_N[order].cpu().numpy(),
        boxes=boxes,
        rles=None,
    )


def _corners(boxes_xywh: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)


def panoptic(
    scores_N: Tensor,
    categories_N: Tensor,
    logits_Nss: Tensor,
    is_thing: Tensor,
    frame: Frame,
    *,
    least_score: float = 0.8,
    least_share: float = 0.8,
) -> Panoptic:
    """Each pixel to the mask of the highest score times probability (Cheng et al., CVPR 2022, after MaskFormer, 2021).

    Masks of a score up to `least_score`, and those that keep less than `least_share` of their pixels beside the others,
    are left out; those of one class of stuff become one segment.

    Args:
        is_thing: bool by category, [K + 1].
    """
    kept = (scores_N > least_score).nonzero().squeeze(1)
    ids = np.zeros((frame.height, frame.width), dtype=np.int32)
    if len(kept) == 0:
        return Panoptic(ids=ids, categories={})
    probabilities = enlarged(logits_Nss[kept].float(), frame).sigmoid()
    owner = (probabilities * scores_N[kept].view(-1, 1, 1)).argmax(0)
    categories: dict[int, int] = {}
    stuff: dict[int, int] = {}
    for row, category in enumerate(categories_N[kept].tolist()):
        whole = probabilities[row] >= 0.5
        owned = owner == row
        mine = owned & whole
        if not mine.any() or owned.sum() < least_share * whole.sum():
            continue
        number = len(categories) + 1
        if not is_thing[category]:
            number = stuff.setdefault(category, number)
        categories[number] = category
        ids[mine.cpu().numpy()] = number
    return Panoptic(ids=ids, categories=categories)
