"""DeepLab-LargeFOV (Chen et al., ICLR 2015) on VGG16 (Simonyan and Zisserman, ICLR 2015), without the CRF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unseg_core.evaluate.models.model import Entry
from unseg_core.evaluate.models.semantic import SemanticModel
from unseg_core.evaluate.pretrained import fill_fitting, read_weights

if TYPE_CHECKING:
    from unseg_core.params import EvaluateParams

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and 3 x 3 convolutions of VGG16's five stages."""
DILATED = 4
"""The stage whose convolutions have holes instead of a smaller map: the output is an eighth of the image."""
NARROW = 8


class LargeFov(nn.Module):
    """Images [B, 3, H, W] to logits [B, labels, H, W].

    `features` numbers its layers as torchvision's VGG16 does, so that its weights fit.
    """

    def __init__(self, labels: int, *, narrow: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage, (width, count) in enumerate(STAGES):
            hole = 2 if stage == DILATED else 1
            for _ in range(count):
                layers += [nn.Conv2d(channels, width // narrow, 3, padding=hole, dilation=hole), nn.ReLU()]
                channels = width // narrow
            layers.append(nn.MaxPool2d(3, stride=2 if stage < 3 else 1, padding=1))
        self.features = nn.Sequential(*layers)
        # The paper's field of view: 3 x 3 with input stride 12 in place of VGG's 7 x 7.
        self.fc6 = nn.Conv2d(channels, 1024 // narrow, 3, padding=12, dilation=12)
        self.fc7 = nn.Conv2d(1024 // narrow, 1024 // narrow, 1)
        self.fc8 = nn.Conv2d(1024 // narrow, labels, 1)
        self._initialise()

    def _initialise(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # all of them have one
        nn.init.normal_(self.fc8.weight, std=0.01)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        values = F.avg_pool2d(self.features(images_BCHW), 3, stride=1, padding=1)
        values = F.dropout(torch.relu(self.fc6(values)), 0.5, self.training)
        values = F.dropout(torch.relu(self.fc7(values)), 0.5, self.training)
        size = images_BCHW.shape[-2:]
        return F.interpolate(self.fc8(values), size=size, mode="bilinear", align_corners=False)


def build_deeplabv1(params: EvaluateParams, classes: int) -> SemanticModel:
    network = LargeFov(classes + 1, narrow=NARROW if params.width == "tiny" else 1)
    if params.encoder_weights:
        state = {
            name.removeprefix("features."): value
            for name, value in read_weights(params.encoder_weights).items()
            if name.startswith("features.")
        }
        fill_fitting(network.features, state, origin=params.encoder_weights)
    if params.weights:
        fill_fitting(network, read_weights(params.weights), origin=params.weights)
    return SemanticModel(network)


DEEPLABV1 = Entry(build=build_deeplabv1, tasks=frozenset({"semantic", "medical"}))
