"""Downstream models by name. Adding one is one file and one line in MODELS."""

from __future__ import annotations

from unseg_core.errors import ParameterError
from unseg_core.evaluate.models.deeplabv1 import DEEPLABV1
from unseg_core.evaluate.models.deeplabv3 import DEEPLABV3
from unseg_core.evaluate.models.dino import DINO
from unseg_core.evaluate.models.mask2former import MASK2FORMER
from unseg_core.evaluate.models.model import DownstreamModel, Entry
from unseg_core.evaluate.models.rsprompter import RSPROMPTER
from unseg_core.evaluate.models.sam_hq import SAM_HQ
from unseg_core.evaluate.models.segformer import SEGFORMER
from unseg_core.evaluate.models.unet import UNET
from unseg_core.evaluate.models.unetplusplus import UNETPLUSPLUS
from unseg_core.extras import needs_extra
from unseg_core.params import EvaluateParams

__all__ = ["MODELS", "DownstreamModel", "build_model"]

MODELS: dict[str, Entry] = {
    "deeplabv1": DEEPLABV1,
    "deeplabv3": DEEPLABV3,
    "dino": DINO,
    "mask2former": MASK2FORMER,
    "rsprompter": RSPROMPTER,
    "sam_hq": SAM_HQ,
    "segformer": SEGFORMER,
    "unet": UNET,
    "unetplusplus": UNETPLUSPLUS,
}


def build_model(params: EvaluateParams, classes: int) -> DownstreamModel:
    """The model of a recipe for so many classes; the background is not counted.

    Raises:
        ParameterError: an unknown model or encoder, or a task that the model does not have.
        WeightsError: its weights are missing or do not fit.
        ExtraError: the library that has it is not installed.
    """
    if params.model not in MODELS:
        raise ParameterError(f"evaluate.model is {params.model!r}; choose one of {', '.join(MODELS)}")
    entry = MODELS[params.model]
    if params.task not in entry.tasks:
        fitting = ", ".join(name for name, one in MODELS.items() if params.task in one.tasks)
        raise ParameterError(f"evaluate.model {params.model!r} has no task {params.task!r}; choose one of {fitting}")
    with needs_extra("evaluate", f"evaluate.model {params.model!r}"):
        return entry.build(params, classes)
