"""Losses of DINO: focal loss of all queries, L1 and generalised IoU of those that belong to an object."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from unseg_core.evaluate.models.dino.boxes import corners

ALPHA = 0.25
CLASS_COST, BOX_COST, GIOU_COST = 2.0, 5.0, 2.0
CLASS_WEIGHT, BOX_WEIGHT, GIOU_WEIGHT = 1.0, 5.0, 2.0

Pairs = list[tuple[Tensor, Tensor]]
"""For each image, indices of queries and of their objects."""


@torch.no_grad()
def match(logits_BNK: Tensor, boxes_BN4: Tensor, labels: list[Tensor], boxes: list[Tensor]) -> Pairs:
    """The assignment of least cost (Carion et al., ECCV 2020), with the focal loss's cost of classes."""
    from scipy.optimize import linear_sum_assignment

    pairs = []
    for logits, found, true_labels, true in zip(logits_BNK, boxes_BN4, labels, boxes, strict=True):
        p = logits.float().sigmoid()[:, true_labels]
        positive = -ALPHA * (1 - p) ** 2 * (p + 1e-8).log()
        negative = -(1 - ALPHA) * p**2 * (1 - p + 1e-8).log()
        cost = CLASS_COST * (positive - negative) + BOX_COST * torch.cdist(found.float(), true, p=1)
        cost = cost - GIOU_COST * generalized_box_iou(corners(found.float()), corners(true))
        rows, columns = linear_sum_assignment(cost.nan_to_num().cpu().numpy())
        device = logits.device
        pairs.append((torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)))
    return pairs


def set_loss(
    logits_BNK: Tensor, boxes_BN4: Tensor, labels: list[Tensor], boxes: list[Tensor], pairs: Pairs, count: float
) -> Tensor:
    """The weighted sum of the three losses, divided by `count` objects."""
    target = torch.zeros_like(logits_BNK)
    for image, (queries, objects) in enumerate(pairs):
        target[image, queries, labels[image][objects]] = 1.0
    found = torch.cat([boxes_BN4[image, queries] for image, (queries, _) in enumerate(pairs)])
    true = torch.cat([boxes[image][objects] for image, (_, objects) in enumerate(pairs)])
    classes = sigmoid_focal_loss(logits_BNK, target, alpha=ALPHA, gamma=2.0, reduction="sum")
    distance = F.l1_loss(found, true, reduction="sum")
    giou = generalized_box_iou_loss(corners(found), corners(true), reduction="sum")
    total: Tensor = (CLASS_WEIGHT * classes + BOX_WEIGHT * distance + GIOU_WEIGHT * giou) / count
    return total
