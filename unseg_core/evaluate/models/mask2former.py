"""Mask2Former (Cheng et al., CVPR 2022) from transformers, for semantic, instance and panoptic segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from unseg_core.errors import ParameterError
from unseg_core.evaluate.batch import Batch, Frame, Objects
from unseg_core.evaluate.models.model import DownstreamModel, Entry
from unseg_core.evaluate.predictions import MAX_INSTANCES, Instances, Panoptic, instances, panoptic
from unseg_core.evaluate.pretrained import fill_backbone, from_hub
from unseg_core.evaluate.scoring import SEMANTIC
from unseg_core.evaluate.targets import objects_of_labels

if TYPE_CHECKING:
    from unseg_core.params import EvaluateParams

ENCODERS: dict[str, dict[str, dict[str, Any]]] = {
    "resnet50": {
        "paper": {"model_type": "resnet"},
        "tiny": {
            "model_type": "resnet", "depths": [1, 1, 1, 1], "hidden_sizes": [32, 48, 64, 96], "embedding_size": 16,
        },
    },
    "swin_tiny": {
        "paper": {
            "model_type": "swin", "depths": [2, 2, 6, 2], "embed_dim": 96, "num_heads": [3, 6, 12, 24],
            "drop_path_rate": 0.3,
        },
        "tiny": {
            "model_type": "swin", "depths": [1, 1, 1, 1], "embed_dim": 16, "num_heads": [1, 2, 4, 8],
            "drop_path_rate": 0.0,
        },
    },
}  # fmt: skip
"""By encoder and width, for transformers' configurations; their defaults are ResNet-50 and Swin-T (window 7)."""
STAGES = ["stage1", "stage2", "stage3", "stage4"]
DECODERS: dict[str, dict[str, Any]] = {
    "paper": {},
    "tiny": {
        "feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "encoder_feedforward_dim": 64,
        "encoder_layers": 1, "decoder_layers": 3, "num_attention_heads": 4, "dim_feedforward": 64,
        "num_queries": 40, "train_num_points": 512,
    },
}  # fmt: skip
"""By width; transformers' defaults are the paper's."""


class Mask2Former(DownstreamModel):
    """Labels start at 0 in the network: the background or the first class, as the task has it."""

    is_thing: Tensor

    def __init__(self, network: Any, task: str, labels: int) -> None:
        super().__init__()
        self.network = network
        self.task = task
        self.labels = labels
        # Which categories are things is known from the training's segments alone.
        self.register_buffer("is_thing", torch.zeros(labels + 1, dtype=torch.bool))

    def loss(self, batch: Batch) -> Tensor:
        objects = self._objects(batch)
        for one in objects:
            self.is_thing[one.categories[one.is_thing]] = True
        output = self.network(
            pixel_values=batch.images,
            mask_labels=[one.masks.float() for one in objects],
            class_labels=[one.categories - 1 for one in objects],
        )
        return cast(Tensor, output.loss)

    def _objects(self, batch: Batch) -> list[Objects]:
        if self.task in SEMANTIC:
            assert batch.labels is not None
            return [objects_of_labels(labels, self.labels) for labels in batch.labels]
        return [one.visible() for one in batch.objects]

    def predict(self, batch: Batch) -> Any:
        output = self.network(pixel_values=batch.images)
        classes_BQL, masks_BQss = output.class_queries_logits.softmax(-1), output.masks_queries_logits
        if self.task in SEMANTIC:
            size = batch.images.shape[-2:]
            return torch.stack([_labels(*one, size) for one in zip(classes_BQL, masks_BQss, strict=True)])
        find = self._panoptic if self.task == "panoptic" else _instances
        return [find(*one) for one in zip(classes_BQL, masks_BQss, batch.frames, strict=True)]

    def _panoptic(self, classes_QL: Tensor, masks_Qss: Tensor, frame: Frame) -> Panoptic:
        scores, labels = classes_QL.max(-1)
        found = labels < self.labels
        return panoptic(scores[found], labels[found] + 1, masks_Qss[found], self.is_thing, frame)


def _labels(classes_QL: Tensor, masks_Qss: Tensor, size: torch.Size) -> Tensor:
    """The label whose queries weigh most at each pixel, [H, W]; the last column of `classes_QL` is "no object"."""
    masks = F.interpolate(masks_Qss[None], size=size, mode="bilinear", align_corners=False)[0].sigmoid()
    return torch.einsum("ql,qhw->lhw", classes_QL[:, :-1], masks).argmax(0)


def _instances(classes_QL: Tensor, masks_Qss: Tensor, frame: Frame) -> Instances:
    """The best pairs of query and class; a score is the class's times the mean probability of the mask's pixels."""
    labels = classes_QL.shape[1] - 1
    scores, pairs = classes_QL[:, :-1].flatten().topk(min(MAX_INSTANCES, labels * len(classes_QL)))
    masks = masks_Qss[pairs // labels]
    inside = (masks > 0).float()
    sureness = (masks.sigmoid() * inside).sum((1, 2)) / (inside.sum((1, 2)) + 1e-6)
    return instances(scores * sureness, pairs % labels + 1, masks, frame)


def build_mask2former(params: EvaluateParams, classes: int) -> Mask2Former:
    from transformers import CONFIG_MAPPING, Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    configuration: Any = Mask2FormerConfig  # its arguments are not known to type checkers
    if params.encoder not in ENCODERS:
        raise ParameterError(f"evaluate.encoder is {params.encoder!r}; for mask2former choose {' or '.join(ENCODERS)}")
    labels = classes + 1 if params.task in SEMANTIC else classes
    if params.weights:
        network: Any = from_hub(Mask2FormerForUniversalSegmentation, params.weights, num_labels=labels)
        return Mask2Former(network, params.task, labels)
    encoder = dict(ENCODERS[params.encoder][params.width])
    encoder_configuration: Any = CONFIG_MAPPING[encoder.pop("model_type")]
    backbone = encoder_configuration(**encoder, out_features=STAGES)
    config = configuration(backbone_config=backbone, num_labels=labels, **DECODERS[params.width])
    network = Mask2FormerForUniversalSegmentation(config)
    if params.encoder_weights:
        fill_backbone(network.model.pixel_level_module.encoder, params.encoder_weights)
    return Mask2Former(network, params.task, labels)


MASK2FORMER = Entry(build=build_mask2former, tasks=frozenset({"semantic", "medical", "instance", "panoptic"}))
