"""torchvision's two-stage detector on a given pyramid: proposals, and boxes with classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from unseg_core.evaluate.batch import Objects
from unseg_core.evaluate.predictions import MAX_INSTANCES

LEVELS = 5
POOLED = ["0", "1", "2", "3"]
"""Levels that boxes are cut from."""
RATIOS = (0.5, 1.0, 2.0)
BOX_SIDE = 7


@dataclass(frozen=True, kw_only=True)
class Found:
    """Boxes of one image."""

    boxes: Tensor
    """[N, 4], network pixels"""
    scores: Tensor
    categories: Tensor


@dataclass(frozen=True, kw_only=True)
class Assigned:
    """Proposals of one image that belong to an object."""

    boxes: Tensor
    """[N, 4], network pixels"""
    objects: Tensor
    """int64 [N]"""


class Detection(nn.Module):
    def __init__(self, width: int, hidden: int, classes: int, stride: int, proposals: int) -> None:
        """
        Args:
            stride: of the finest level, pixels.
            proposals: of one image; a quarter as many are learned from.
        """
        super().__init__()
        sizes = tuple((stride * 2**level * 4, stride * 2**level * 8) for level in range(LEVELS))
        anchors = AnchorGenerator(sizes, (RATIOS,) * LEVELS)
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(width, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 2 * proposals, "testing": proposals},
            post_nms_top_n={"training": proposals, "testing": proposals},
            nms_thresh=0.7,
        )
        self.roi = RoIHeads(
            MultiScaleRoIAlign(POOLED, BOX_SIDE, sampling_ratio=2),
            TwoMLPHead(width * BOX_SIDE**2, hidden),
            FastRCNNPredictor(hidden, classes + 1),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=proposals // 4,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            score_thresh=0.05,
            nms_thresh=0.5,
            detections_per_img=MAX_INSTANCES,
        )

    def loss(
        self, images: Tensor, sizes: list[tuple[int, int]], maps: dict[str, Tensor], objects: list[Objects]
    ) -> tuple[Tensor, list[Assigned]]:
        """The four losses of boxes, and the proposals to learn masks from.

        Args:
            sizes: height and width of the images without padding.
        """
        targets = [{"boxes": one.boxes, "labels": one.categories} for one in objects]
        proposals, first = self.rpn(ImageList(images, sizes), maps, targets)
        chosen, matched, labels, shifts = self.roi.select_training_samples(proposals, targets)
        logits, deltas = self._classify(images, maps, chosen)
        classes, boxes = fastrcnn_loss(logits, deltas, labels, shifts)
        assigned = [
            Assigned(boxes=one[label > 0], objects=which[label > 0])
            for one, which, label in zip(chosen, matched, labels, strict=True)
        ]
        return torch.stack([*first.values(), classes, boxes]).sum(), assigned

    def find(self, images: Tensor, sizes: list[tuple[int, int]], maps: dict[str, Tensor]) -> list[Found]:
        proposals, _ = self.rpn(ImageList(images, sizes), maps, None)
        logits, deltas = self._classify(images, maps, proposals)
        found = zip(*self.roi.postprocess_detections(logits, deltas, proposals, sizes), strict=True)
        return [Found(boxes=boxes, scores=scores, categories=labels) for boxes, scores, labels in found]

    def _classify(self, images: Tensor, maps: dict[str, Tensor], boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        features = self.roi.box_head(self.roi.box_roi_pool(maps, boxes, whole(images)))
        logits, deltas = self.roi.box_predictor(features)
        return logits, deltas


def whole(images: Tensor) -> list[tuple[int, int]]:
    """Height and width with padding, from which torchvision infers the strides of the maps."""
    return [(images.shape[2], images.shape[3])] * len(images)
