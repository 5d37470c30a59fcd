"""Adversarial training of segmentation models, as Xu, Zhao and Jia (ICCV 2021) have it for comparison.

Half of each batch is clean, the other half attacked within the budget by projected gradient steps on the loss
(Madry et al., ICLR 2018), while the model is as in testing.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unseg_core.evaluate.batch import Batch
from unseg_core.evaluate.defences.defence import Defence, TrainingRule
from unseg_core.evaluate.defences.pixels import scales
from unseg_core.evaluate.models.model import DownstreamModel

STEPS = 3
"""Xu et al., section 4."""
LEVELS = 255


def attacked(model: DownstreamModel, batch: Batch, epsilon: float) -> Batch:
    """The batch with images that raise the model's loss, at most `epsilon` 8-bit levels away from those given."""
    mean, std = scales(batch.images)
    low = torch.maximum(batch.images - epsilon / LEVELS / std, (0 - mean) / std)
    high = torch.minimum(batch.images + epsilon / LEVELS / std, (1 - mean) / std)
    step = epsilon / STEPS / LEVELS / std
    training = model.training
    model.eval()
    images = batch.images.detach()
    for _ in range(STEPS):
        images = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model.loss(replace(batch, images=images)), images)
        images = torch.minimum(torch.maximum(images.detach() + step * gradient.sign(), low), high)
    model.train(training)
    return replace(batch, images=images)


class AdversarialTraining(TrainingRule):
    def __init__(self, model: DownstreamModel, epsilon: float) -> None:
        super().__init__(model)
        self.epsilon = epsilon

    def loss(self, batch: Batch) -> Tensor:
        half = len(batch.images) // 2
        second = attacked(self.model, batch.part(half, len(batch.images)), self.epsilon)
        return self.model.loss(replace(batch, images=torch.cat([batch.images[:half], second.images])))


ADVERSARIAL = Defence(rule=AdversarialTraining, default=8, low=0, high=255)
