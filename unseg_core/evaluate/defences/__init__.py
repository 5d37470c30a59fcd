"""Defences by name: what a trainer may do against the noise. Adding one is one entry and one line in DEFENCES."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unseg_core.degradations import Transform
from unseg_core.errors import ParameterError
from unseg_core.evaluate.batch import Batch
from unseg_core.evaluate.defences.adversarial import ADVERSARIAL
from unseg_core.evaluate.defences.defence import Defence, TrainingRule
from unseg_core.evaluate.defences.divide_and_conquer import DDC_AT
from unseg_core.evaluate.defences.pixels import pixels_of
from unseg_core.evaluate.defences.squeezing import BANDSTOP, BIT_DEPTH, GAUSSIAN, GREY, JPEG, NOISE, RESIZE
from unseg_core.evaluate.models.model import DownstreamModel
from unseg_core.model.parts import normalise
from unseg_core.params import EvaluateParams

__all__ = ["DEFENCES", "Defended", "defend", "parse_defences"]

DEFENCES: dict[str, Defence] = {
    "gaussian": GAUSSIAN,
    "jpeg": JPEG,
    "grey": GREY,
    "bits": BIT_DEPTH,
    "noise": NOISE,
    "resize": RESIZE,
    "bandstop": BANDSTOP,
    "adversarial": ADVERSARIAL,
    "ddc-at": DDC_AT,
}


def parse_defences(texts: Sequence[str]) -> list[tuple[str, Defence, float]]:
    """Name, entry and value of each `NAME` or `NAME:VALUE`.

    Raises:
        ParameterError: an unknown name, a value out of range, or more than one training rule.
    """
    found = [_parse(text) for text in texts]
    rules = [name for name, one, _ in found if one.rule is not None]
    if len(rules) > 1:
        raise ParameterError(f"evaluate.defences: {' and '.join(rules)} cannot be combined; give one of them")
    return found


def _parse(text: str) -> tuple[str, Defence, float]:
    name, colon, value = text.partition(":")
    if name not in DEFENCES:
        raise ParameterError(f"evaluate.defences: {name!r} is unknown; choose of {', '.join(DEFENCES)}")
    one = DEFENCES[name]
    try:
        number = float(value) if colon else one.default
    except ValueError:
        raise ParameterError(f"evaluate.defences: {text!r} has no number after the colon") from None
    one.check(name, number)
    return name, one, number


class Defended(nn.Module):
    """A model and what its training does against the noise; its own parameters are those of the rule."""

    def __init__(self, rule: TrainingRule, training: Sequence[Transform], testing: Sequence[Transform]) -> None:
        super().__init__()
        self.rule = rule
        self.training_transforms = tuple(training)
        self.testing_transforms = tuple(testing)

    def loss(self, batch: Batch) -> Tensor:
        """What is minimised, on the transformed images."""
        return self.rule.loss(_transformed(batch, self.training_transforms))

    def predict(self, batch: Batch) -> Any:
        """As the model, with the transforms that testing has."""
        return self.rule.predict(_transformed(batch, self.testing_transforms))

    def eval(self) -> Defended:
        self.rule.model.eval()
        return self


def _transformed(batch: Batch, transforms: Sequence[Transform]) -> Batch:
    if not transforms:
        return batch
    images = pixels_of(batch.images)
    for transform in transforms:
        images = transform(images)
    layout = batch.images.is_contiguous()
    images = normalise(images.clamp(0, 1))
    return replace(batch, images=images if layout else images.contiguous(memory_format=torch.channels_last))


def defend(model: DownstreamModel, params: EvaluateParams) -> Defended:
    """The model of a recipe with the recipe's defences.

    Raises:
        ParameterError: an unknown defence, or one that is not for this model.
    """
    found = parse_defences(params.defences)
    rules = [one.rule(model, value) for _, one, value in found if one.rule is not None]
    transforms = [(one, one.transform(value)) for _, one, value in found if one.transform is not None]
    return Defended(
        rules[0] if rules else TrainingRule(model),
        [transform for _, transform in transforms],
        [transform for one, transform in transforms if one.at_test],
    )
