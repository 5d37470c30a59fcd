"""The detector: backbone, feature maps, transformer, and what it is trained on.

Names of parts are those of the official 4-scale checkpoints, which fit but for the classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import FrozenBatchNorm2d

from unseg_core.errors import ParameterError
from unseg_core.evaluate.batch import Batch
from unseg_core.evaluate.models.dino.boxes import to_pixels, to_shares
from unseg_core.evaluate.models.dino.denoising import Noised, hidden_queries, noised_objects, true_pairs
from unseg_core.evaluate.models.dino.losses import match, set_loss
from unseg_core.evaluate.models.dino.positions import pixel_positions
from unseg_core.evaluate.models.dino.sizes import LEVELS, SIZES, DinoSize
from unseg_core.evaluate.models.dino.transformer import Decoded, Transformer
from unseg_core.evaluate.models.model import DownstreamModel, Entry
from unseg_core.evaluate.predictions import MAX_INSTANCES, Instances, detections
from unseg_core.evaluate.pretrained import fill_fitting, read_weights

if TYPE_CHECKING:
    from unseg_core.params import EvaluateParams

ENCODERS = ("resnet18", "resnet34", "resnet50", "resnet101")
STAGES = {"layer2": "0", "layer3": "1", "layer4": "2"}
FROZEN = ("conv1", "bn1", "layer1")
"""Parts of a pretrained backbone that are not trained, as in DETR."""


class Backbone(nn.Module):
    def __init__(self, network: ResNet) -> None:
        super().__init__()
        self.channels = [_channels(network.get_submodule(stage)) for stage in STAGES]
        self.body = IntermediateLayerGetter(network, STAGES)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps of an 8th, a 16th and a 32nd of the image's side."""
        return list(self.body(images).values())


def _channels(stage: nn.Module) -> int:
    return next(
        m.out_channels for m in reversed(list(stage.modules())) if isinstance(m, nn.Conv2d) and m.stride == (1, 1)
    )


class Dino(DownstreamModel):
    def __init__(self, network: ResNet, size: DinoSize, classes: int) -> None:
        super().__init__()
        self.size = size
        self.classes = classes
        self.backbone = nn.ModuleList([Backbone(network)])
        channels = cast(Backbone, self.backbone[0]).channels
        self.input_proj = nn.ModuleList(
            [_projection(before, size, kernel=1) for before in channels]
            + [_projection(channels[-1], size, kernel=3) for _ in range(LEVELS - len(channels))]
        )
        self.transformer = Transformer(size, classes)
        # The label after the last is that of no object.
        self.label_enc = nn.Embedding(classes + 1, size.width)

    def forward(self, batch: Batch, noised: Noised | None) -> Decoded:
        features = self.backbone[0](batch.images)
        maps = [project(one) for project, one in zip(self.input_proj, [*features, features[-1]], strict=True)]
        whole = batch.inside()[:, None].float()
        inside = [F.interpolate(whole, size=one.shape[-2:])[:, 0] > 0.5 for one in maps]
        positions = [pixel_positions(one, self.size.width) for one in inside]
        queries = min(self.size.queries, sum(one[0].numel() for one in inside))
        hidden = hidden_queries(noised, queries, batch.images.device)
        if noised is None:
            extra = batch.images.new_zeros((len(batch.images), 0, self.size.width))
            boxes = batch.images.new_zeros((len(batch.images), 0, 4))
        else:
            extra, boxes = self.label_enc(noised.labels), noised.boxes
        return cast(Decoded, self.transformer(maps, positions, inside, (extra, boxes, hidden)))

    def loss(self, batch: Batch) -> Tensor:
        """Of the encoder's and every layer's queries, and of the denoised ones."""
        labels = [one.categories - 1 for one in batch.objects]
        boxes = [to_shares(one.boxes, frame) for one, frame in zip(batch.objects, batch.frames, strict=True)]
        noised = noised_objects(labels, boxes, self.classes, self.size.denoising)
        decoded = self(batch, noised)
        extra = 0 if noised is None else noised.labels.shape[1]
        count = max(1.0, float(sum(map(len, labels))))
        stages = [(decoded.first_logits, decoded.first_boxes)]
        stages += [(a[:, extra:], b[:, extra:]) for a, b in zip(decoded.logits, decoded.boxes, strict=True)]
        total = torch.stack([set_loss(a, b, labels, boxes, match(a, b, labels, boxes), count) for a, b in stages]).sum()
        if noised is None:
            # So that every part has a gradient in every step.
            return total + self.label_enc.weight.sum() * 0.0
        pairs = true_pairs(noised, [len(one) for one in labels], batch.images.device)
        for a, b in zip(decoded.logits, decoded.boxes, strict=True):
            total = total + set_loss(a[:, :extra], b[:, :extra], labels, boxes, pairs, count * noised.groups)
        return total

    def predict(self, batch: Batch) -> list[Instances]:
        """The best pairs of query and class."""
        decoded = self(batch, None)
        found = []
        for logits, boxes, frame in zip(decoded.logits[-1].sigmoid(), decoded.boxes[-1], batch.frames, strict=True):
            scores, pairs = logits.flatten().topk(min(MAX_INSTANCES, logits.numel()))
            chosen = to_pixels(boxes[pairs // self.classes], frame)
            found.append(detections(scores, pairs % self.classes + 1, chosen, frame))
        return found


def _projection(channels: int, size: DinoSize, *, kernel: int) -> nn.Sequential:
    """To the transformer's width: 1 x 1, or 3 x 3 to a map of half the size."""
    layer = nn.Conv2d(channels, size.width, kernel, stride=2 if kernel == 3 else 1, padding=kernel // 2)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
    return nn.Sequential(layer, nn.GroupNorm(size.groups, size.width))


def build_dino(params: EvaluateParams, classes: int) -> Dino:
    pretrained = bool(params.encoder_weights or params.weights)
    # Statistics of ImageNet are kept, as in DETR; random weights need their own.
    norm = FrozenBatchNorm2d if pretrained else nn.BatchNorm2d
    network = _resnet(params, norm)
    if params.encoder_weights:
        fill_fitting(network, read_weights(params.encoder_weights), origin=params.encoder_weights)
    model = Dino(network, SIZES[params.width], classes)
    if params.weights:
        fill_fitting(model, read_weights(params.weights), origin=params.weights)
    if pretrained:
        for name, parameter in cast(Backbone, model.backbone[0]).body.named_parameters():
            parameter.requires_grad_(not name.startswith(FROZEN))
    return model


def _resnet(params: EvaluateParams, norm: Any) -> ResNet:
    if params.width == "tiny":
        return ResNet(BasicBlock, [1, 1, 1, 1], norm_layer=norm)
    if params.encoder not in ENCODERS:
        raise ParameterError(f"evaluate.encoder is {params.encoder!r}; for dino choose one of {', '.join(ENCODERS)}")
    return cast(ResNet, getattr(torchvision.models, params.encoder)(weights=None, norm_layer=norm))


DINO = Entry(build=build_dino, tasks=frozenset({"detection"}))
