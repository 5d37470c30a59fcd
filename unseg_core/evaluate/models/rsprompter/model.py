"""The whole of RSPrompter: SAM's frozen encoder, detection, prompts, SAM's decoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import MultiScaleRoIAlign

from unseg_core.errors import ParameterError
from unseg_core.evaluate.batch import Batch
from unseg_core.evaluate.models.model import DownstreamModel, Entry
from unseg_core.evaluate.models.rsprompter.detection import POOLED, Assigned, Detection, whole
from unseg_core.evaluate.models.rsprompter.features import Aggregator, Prompter, Pyramid
from unseg_core.evaluate.predictions import CHUNK, Instances, instances
from unseg_core.evaluate.pretrained import fill_fitting, read_weights
from unseg_core.model.parts import build_image_encoder, build_prompt_encoder, build_transformer
from unseg_core.model.sizes import SIZES, Size

if TYPE_CHECKING:
    from unseg_core.params import EvaluateParams

MASK_SIDE = 14
TOKENS = 5
"""Prompts of one object, as in the paper."""


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Of what is not SAM's."""

    narrow: int
    """Of the aggregated features of a block."""
    hidden: int
    """Of the box head."""
    every: int
    """Every so many blocks are aggregated."""
    proposals: int
    """Of one image."""
    masks: int
    """Proposals of an image that masks are learned from in one step, drawn at random."""


WIDTHS = {
    "paper": Widths(narrow=32, hidden=1024, every=3, proposals=1024, masks=32),
    "tiny": Widths(narrow=16, hidden=64, every=1, proposals=128, masks=6),
}


class RsPrompter(DownstreamModel):
    def __init__(self, size: Size, side: int, widths: Widths, classes: int) -> None:
        super().__init__()
        decoder = MaskDecoder(
            transformer_dim=size.prompt_dim,
            transformer=build_transformer(size),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=size.prompt_dim,
        )
        self.sam = nn.ModuleDict(
            {
                "image_encoder": build_image_encoder(size, side),
                "prompt_encoder": build_prompt_encoder(size, side),
                "mask_decoder": decoder,
            }
        )
        self.frozen = False
        self.most_masks = widths.masks
        self.used = range(widths.every - 1, size.depth, widths.every)
        self.aggregator = Aggregator(len(self.used), size.embed_dim, widths.narrow, size.prompt_dim)
        self.pyramid = Pyramid(size.prompt_dim)
        self.detection = Detection(
            size.prompt_dim, widths.hidden, classes, stride=size.patch_size // 4, proposals=widths.proposals
        )
        self.pool = MultiScaleRoIAlign(POOLED, MASK_SIDE, sampling_ratio=2)
        self.prompter = Prompter(size.prompt_dim, MASK_SIDE, TOKENS)

    def freeze(self) -> None:
        """Keep SAM's encoders as they are; its decoder is trained."""
        self.frozen = True
        for part in ("image_encoder", "prompt_encoder"):
            self.sam[part].requires_grad_(False)

    def _encode(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """SAM's embedding [B, C, h, w] and the pyramid."""
        encoder: Any = self.sam["image_encoder"]
        # SAM pads with 0 after normalising.
        images = batch.images * batch.inside()[:, None]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            cells = encoder.patch_embed(images) + encoder.pos_embed
            outputs = []
            for index, block in enumerate(encoder.blocks):
                cells = block(cells)
                if index in self.used:
                    outputs.append(cells.permute(0, 3, 1, 2))
            embedding = encoder.neck(cells.permute(0, 3, 1, 2))
        return embedding, self.pyramid(self.aggregator(outputs))

    def _masks(self, embedding_1Chw: Tensor, features: Tensor) -> Tensor:
        """Logits [N, s, s] of one image's objects from their pooled features."""
        prompts = self.prompter(features)
        encoder, decoder = cast(Any, self.sam["prompt_encoder"]), self.sam["mask_decoder"]
        dense = encoder.no_mask_embed.weight.view(1, -1, 1, 1).expand(len(prompts), -1, *embedding_1Chw.shape[-2:])
        logits, _ = decoder(
            image_embeddings=embedding_1Chw,
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=prompts,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return cast(Tensor, logits[:, 0])

    def loss(self, batch: Batch) -> Tensor:
        """Those of the detector, and BCE of the masks of its proposals."""
        embedding, maps = self._encode(batch)
        objects = [one.visible() for one in batch.objects]
        total, assigned = self.detection.loss(batch.images, _sizes(batch), maps, objects)
        chosen = [_some(one, self.most_masks) for one in assigned]
        pooled = self.pool(maps, [one.boxes for one in chosen], whole(batch.images))
        losses = []
        for image, features in enumerate(pooled.split([len(one.boxes) for one in chosen])):
            # Normalising a batch needs more than one object.
            if len(features) > 1:
                logits = self._masks(embedding[image : image + 1], features)
                true = objects[image].masks[chosen[image].objects][:, None].float()
                target = F.interpolate(true, size=logits.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
                losses.append(F.binary_cross_entropy_with_logits(logits, target))
        return total + torch.stack(losses).mean() if losses else total

    def predict(self, batch: Batch) -> list[Instances]:
        embedding, maps = self._encode(batch)
        result = []
        for image, found in enumerate(self.detection.find(batch.images, _sizes(batch), maps)):
            own = {level: one[image : image + 1] for level, one in maps.items()}
            masks = [embedding.new_zeros((0, 4, 4))]
            for boxes in torch.split(found.boxes, CHUNK):
                if len(boxes):
                    features = self.pool(own, [boxes], whole(batch.images[image : image + 1]))
                    masks.append(self._masks(embedding[image : image + 1], features))
            logits = torch.cat(masks[1:] or masks)
            result.append(instances(found.scores, found.categories, logits, batch.frames[image]))
        return result


def _sizes(batch: Batch) -> list[tuple[int, int]]:
    return [(math.ceil(frame.valid[0]), math.ceil(frame.valid[1])) for frame in batch.frames]


def _some(assigned: Assigned, most: int) -> Assigned:
    if len(assigned.boxes) <= most:
        return assigned
    chosen = torch.randperm(len(assigned.boxes))[:most].to(assigned.boxes.device)
    return Assigned(boxes=assigned.boxes[chosen], objects=assigned.objects[chosen])


def build_rsprompter(params: EvaluateParams, classes: int) -> RsPrompter:
    name = "tiny" if params.width == "tiny" else params.encoder
    if name not in SIZES:
        raise ParameterError(f"evaluate.encoder is {name!r}; for rsprompter choose one of {', '.join(SIZES)}")
    size = SIZES[name]
    if params.size % size.patch_size:
        raise ParameterError(f"evaluate.size is {params.size}; for rsprompter give a multiple of {size.patch_size}")
    if params.encoder_weights and params.size != size.input_size:
        raise ParameterError(f"evaluate.size is {params.size}, but SAM's weights are for {size.input_size}; give that")
    model = RsPrompter(size, params.size, WIDTHS[params.width], classes)
    if params.encoder_weights:
        fill_fitting(model.sam, read_weights(params.encoder_weights), origin=params.encoder_weights)
        model.freeze()
    if params.weights:
        fill_fitting(model, read_weights(params.weights), origin=params.weights)
    return model


RSPROMPTER = Entry(build=build_rsprompter, tasks=frozenset({"instance"}))
