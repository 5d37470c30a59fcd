"""What semantic models have in common: cross-entropy of logits per pixel."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from unseg_core.data.sample import IGNORE_INDEX
from unseg_core.evaluate.batch import Batch
from unseg_core.evaluate.models.model import DownstreamModel


class SemanticModel(DownstreamModel):
    """Around a network from images [B, 3, H, W] to logits [B, classes + 1, H, W], 0 being the background."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Logits float32, also where the network computes in bfloat16."""
        return cast(Tensor, self.network(images_BCHW)).float()

    def loss(self, batch: Batch) -> Tensor:
        assert batch.labels is not None
        return F.cross_entropy(self(batch.images), batch.labels, ignore_index=IGNORE_INDEX)

    def predict(self, batch: Batch) -> Tensor:
        return cast(Tensor, self(batch.images).argmax(1))
