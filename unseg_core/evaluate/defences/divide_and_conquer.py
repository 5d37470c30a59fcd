"""DDC-AT: Dynamic Divide-and-Conquer Adversarial Training (Xu, Zhao and Jia, ICCV 2021).

Beside the model's own head, the main branch, stand two more on the same features: an auxiliary one of the same kind and
one that tells which branch a pixel belongs to. Pixels of clean images whose prediction an attack changes are the
auxiliary branch's, all others, those of attacked images too, the main one's. Half of each batch is clean, the other
half attacked. Predictions come from the main branch; the others are dropped after training.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unseg_core.data.sample import IGNORE_INDEX
from unseg_core.errors import ParameterError
from unseg_core.evaluate.batch import Batch
from unseg_core.evaluate.defences.adversarial import attacked
from unseg_core.evaluate.defences.defence import Defence, TrainingRule
from unseg_core.evaluate.models.model import DownstreamModel
from unseg_core.evaluate.models.semantic import SemanticModel

HEADS = ("segmentation_head", "fc8")
"""Names of the last layers: of segmentation-models-pytorch, of DeepLab-LargeFOV."""
AUXILIARY, MAIN = 1, 0


class DivideAndConquer(TrainingRule):
    def __init__(self, model: DownstreamModel, epsilon: float) -> None:
        super().__init__(model)
        self.epsilon = epsilon
        head = _head_of(model)
        self.auxiliary = _head_like(head)
        self.division = _head_like(head, outputs=2)
        self._features: list[Tensor] = []
        head.register_forward_pre_hook(self._keep)

    def _keep(self, head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._features = [inputs[0]]

    def loss(self, batch: Batch) -> Tensor:
        assert batch.labels is not None
        half = len(batch.images) // 2
        adversarial = attacked(self.model, batch, self.epsilon)
        divided_BHW = torch.zeros_like(batch.labels)
        divided_BHW[:half] = self._changed(batch.part(0, half), adversarial.part(0, half))
        images = torch.cat([batch.images[:half], adversarial.images[half:]])
        main = cast(SemanticModel, self.model)(images)
        features = self._features.pop()
        auxiliary, division = (self._branch(head, features, main) for head in (self.auxiliary, self.division))
        return (
            _cross_entropy(main, batch.labels, divided_BHW == MAIN)
            + _cross_entropy(auxiliary, batch.labels, divided_BHW == AUXILIARY)
            + F.cross_entropy(division, divided_BHW)
        )

    def _changed(self, clean: Batch, adversarial: Batch) -> Tensor:
        """1 where the attack changes the prediction, int64 [B, H, W]."""
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            changed: Tensor = self.model.predict(clean) != self.model.predict(adversarial)
        self.model.train(training)
        return changed.long()

    def _branch(self, head: nn.Module, features: Tensor, main: Tensor) -> Tensor:
        logits = head(features).float()
        return F.interpolate(logits, size=main.shape[-2:], mode="bilinear", align_corners=False)


def _head_of(model: DownstreamModel) -> nn.Module:
    if isinstance(model, SemanticModel):
        for name in HEADS:
            if hasattr(model.network, name):
                return model.network.get_submodule(name)
    raise ParameterError("evaluate.defences: ddc-at is for deeplabv1, deeplabv3 and unetplusplus; leave it out")


def _head_like(head: nn.Module, outputs: int | None = None) -> nn.Module:
    """A copy with new weights, and another number of output channels where given."""
    other = copy.deepcopy(head)
    convolution = next(layer for layer in other.modules() if isinstance(layer, nn.Conv2d))
    if outputs is not None:
        assert convolution.bias is not None
        convolution.out_channels = outputs
        convolution.weight = nn.Parameter(convolution.weight[:1].expand(outputs, -1, -1, -1).clone())
        convolution.bias = nn.Parameter(convolution.bias[:1].expand(outputs).clone())
    convolution.reset_parameters()
    return other


def _cross_entropy(logits: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
    """Mean over the chosen pixels that have a label; 0 without any."""
    wanted = torch.where(chosen, labels, IGNORE_INDEX)
    total = F.cross_entropy(logits, wanted, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (wanted != IGNORE_INDEX).sum().clamp(min=1)


DDC_AT = Defence(rule=DivideAndConquer, default=8, low=0, high=255)
