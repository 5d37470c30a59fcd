"""Downstream models by name. Adding one is one file and one line in MODELS."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from unseg_core.errors import ParameterError
from unseg_core.evaluate.models.unetplusplus import build_unetplusplus
from unseg_core.params import EvaluateParams

MODELS: dict[str, Callable[[EvaluateParams, int], nn.Module]] = {"unetplusplus": build_unetplusplus}


def build_model(params: EvaluateParams, classes: int) -> nn.Module:
    """A model from [B, 3, H, W] normalised images to logits [B, classes, H, W]; `classes` includes the background.

    Raises ParameterError for an unknown model or encoder.
    """
    if params.model not in MODELS:
        raise ParameterError(f"evaluate.model is {params.model!r}; choose one of {', '.join(MODELS)}")
    return MODELS[params.model](params, classes)
