"""A plain U-Net (Ronneberger et al., MICCAI 2015), from half the resolution down: the cheapest model that learns.

On CPUs a step costs less than half of UNet++ with MobileNetV2, whose depthwise convolutions are slow there.
"""

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

CHANNELS = {"paper": (64, 128, 256, 512), "tiny": (16, 32, 64, 128)}


def _convolution(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class UNet(nn.Module):
    """Images [B, 3, H, W] to logits [B, labels, H, W]; any height and width from 2 ** levels up."""

    def __init__(self, labels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        pairs = list(zip((3, *channels), channels, strict=False))
        self.down = nn.ModuleList(
            nn.Sequential(_convolution(before, after, stride=2), _convolution(after, after)) for before, after in pairs
        )
        self.up = nn.ModuleList(_convolution(before + after, before) for before, after in reversed(pairs[1:]))
        self.segmentation_head = nn.Conv2d(channels[0], labels, 3, padding=1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        values, kept = images_BCHW, []
        for stage in self.down:
            values = stage(values)
            kept.append(values)
        for stage, before in zip(self.up, kept[-2::-1], strict=True):
            enlarged = F.interpolate(values, size=before.shape[-2:])
            values = stage(torch.cat([enlarged, before], dim=1))
        logits = self.segmentation_head(values)
        return F.interpolate(logits, size=images_BCHW.shape[-2:], mode="bilinear", align_corners=False)


def build_unet(params: EvaluateParams, classes: int) -> SemanticModel:
    network = UNet(classes + 1, CHANNELS[params.width])
    if params.weights:
        fill_fitting(network, read_weights(params.weights), origin=params.weights)
    return SemanticModel(network)


UNET = Entry(build=build_unet, tasks=frozenset({"semantic", "medical"}))
