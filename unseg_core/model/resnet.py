"""ResNet-50 as the surrogate's image encoder, for the study of other surrogates (UnSeg, Sun et al., NeurIPS 2024)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from unseg_core.model.parts import LayerNorm2d
from unseg_core.model.sizes import Size

OUT_CHANNELS = 2048
# Later stages are dilated instead of strided until one cell is as large as the ViT's patch.
DILATED = {8: (False, True, True), 16: (False, False, True), 32: (False, False, False)}


class ResNetEncoder(nn.Module):
    """torchvision's ResNet-50 up to its last stage, then SAM's neck.

    Batch normalisation is frozen: batches are too small for statistics of their own.
    """

    def __init__(self, *, size: Size) -> None:
        super().__init__()
        network = resnet50(
            weights=None,
            norm_layer=FrozenBatchNorm2d,
            replace_stride_with_dilation=list(DILATED[size.patch_size]),
        )
        _tame(network)
        stages = [(name, part) for name, part in network.named_children() if name not in ("avgpool", "fc")]
        self.trunk = nn.Sequential(OrderedDict(stages))
        self.neck = nn.Sequential(
            nn.Conv2d(OUT_CHANNELS, size.prompt_dim, 1, bias=False),
            LayerNorm2d(size.prompt_dim),
            nn.Conv2d(size.prompt_dim, size.prompt_dim, 3, padding=1, bias=False),
            LayerNorm2d(size.prompt_dim),
        )

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Embedding [B, prompt_dim, h, w] of a normalised image; one cell per patch of the size."""
        embedding: Tensor = self.neck(self.trunk(image_BCHW))
        return embedding


def _tame(network: nn.Module) -> None:
    """Scale the residual branches of a random start by n^-0.5 for n blocks.

    A frozen normalisation of weight 1 normalises nothing, and n unscaled blocks would blow activations up.
    """
    blocks = [part for part in network.modules() if isinstance(part, Bottleneck)]
    for block in blocks:
        torch.nn.init.constant_(block.bn3.weight, len(blocks) ** -0.5)
