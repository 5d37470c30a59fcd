"""Contrastive denoising: noised true boxes as extra queries, some to be restored and some to be refused."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unseg_core.evaluate.models.dino.boxes import corners

LABEL_NOISE = 0.25
"""Share of labels that are drawn anew (half of the paper's ratio 0.5)."""


@dataclass(frozen=True, kw_only=True)
class Noised:
    """Groups of `width` true and `width` false queries; each group holds all objects of its image once."""

    labels: Tensor
    """int64 [B, M]"""
    boxes: Tensor
    """[B, M, 4]"""
    groups: int
    width: int


def noised_objects(labels: list[Tensor], boxes: list[Tensor], classes: int, count: int) -> Noised | None:
    """True queries lie within half of the box's size of it, false ones beyond; None without any object.

    Args:
        labels: int64 [N] of each image.
        boxes: [N, 4] of each image, centre, width and height as shares.
        count: objects of an image that are denoised, over all groups.
    """
    width = max(len(one) for one in labels)
    if width == 0:
        return None
    groups = max(1, count // width)
    device = boxes[0].device
    all_labels = torch.full((len(labels), groups, 2, width), classes, device=device)
    all_boxes = torch.full((len(labels), groups, 2, width, 4), 0.5, device=device)
    for image, (one_labels, one_boxes) in enumerate(zip(labels, boxes, strict=True)):
        shape = (groups, 2, len(one_labels))
        drawn = torch.randint(classes, shape, device=device)
        changed = torch.rand(shape, device=device) < LABEL_NOISE
        all_labels[image, :, :, : len(one_labels)] = torch.where(changed, drawn, one_labels.expand(shape))
        all_boxes[image, :, :, : len(one_labels)] = _moved(one_boxes, groups)
    return Noised(labels=all_labels.flatten(1), boxes=all_boxes.flatten(1, 3), groups=groups, width=width)


def _moved(boxes_N4: Tensor, groups: int) -> Tensor:
    """[groups, 2, N, 4]: each corner moved by up to half a side (true), or by half to a whole one (false)."""
    shape = (groups, 2, *boxes_N4.shape)
    half = torch.cat([boxes_N4[:, 2:], boxes_N4[:, 2:]], dim=1) / 2
    far = torch.tensor([0.0, 1.0], device=boxes_N4.device).view(1, 2, 1, 1)
    sign = torch.randint(2, shape, device=boxes_N4.device) * 2.0 - 1.0
    moved = corners(boxes_N4) + sign * (torch.rand(shape, device=boxes_N4.device) + far) * half
    moved = moved.clamp(0.0, 1.0)
    return torch.cat([(moved[..., :2] + moved[..., 2:]) / 2, moved[..., 2:] - moved[..., :2]], dim=-1)


def hidden_queries(noised: Noised | None, queries: int, device: torch.device) -> Tensor:
    """bool [M + N, M + N]: no query sees the noised ones, but those of its own group."""
    extra = 0 if noised is None else noised.labels.shape[1]
    hidden = torch.zeros((extra + queries, extra + queries), dtype=torch.bool, device=device)
    hidden[:, :extra] = True
    if noised is not None:
        side = 2 * noised.width
        for start in range(0, extra, side):
            hidden[start : start + side, start : start + side] = False
    return hidden


def true_pairs(noised: Noised, counts: list[int], device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """For each image, which extra queries are to be restored, and to which objects."""
    starts = torch.arange(noised.groups, device=device)[:, None] * 2 * noised.width
    pairs = []
    for count in counts:
        objects = torch.arange(count, device=device)
        pairs.append(((starts + objects).flatten(), objects.repeat(noised.groups)))
    return pairs
