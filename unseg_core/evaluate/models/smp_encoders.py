"""Encoders of segmentation-models-pytorch: ResNet, DenseNet, EfficientNet, ..., and all of timm (`tu-NAME`).

ResNet50, DenseNet169, EfficientNet-B6, Res2Net and RegNetX are `resnet50`, `densenet169`, `efficientnet-b6`,
`tu-res2net50_26w_4s` and `tu-regnetx_080`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unseg_core.errors import ParameterError
from unseg_core.evaluate.pretrained import fill_fitting, read_weights

if TYPE_CHECKING:
    from torch import nn

    from unseg_core.params import EvaluateParams


def check_encoder(name: str) -> None:
    """Raise ParameterError unless segmentation-models-pytorch or timm has it."""
    import segmentation_models_pytorch as smp
    import timm

    known = timm.is_model(name[3:]) if name.startswith("tu-") else name in smp.encoders.get_encoder_names()
    if not known:
        raise ParameterError(f"evaluate.encoder is {name!r}; segmentation-models-pytorch has no such encoder")


def named_weights(params: EvaluateParams) -> str | None:
    """What to pass as `encoder_weights`: the name of weights that the library fetches itself."""
    name = params.encoder_weights
    return name if name and not Path(name).exists() and "/" not in name and "." not in name else None


def load_weights(model: nn.Module, params: EvaluateParams) -> nn.Module:
    """Fill the encoder or the whole model from files, where the recipe names them.

    Raises:
        WeightsError: a file is missing, unsafe, or has nothing that fits.
    """
    if params.encoder_weights and named_weights(params) is None:
        encoder = model.get_submodule("encoder")
        inner = getattr(encoder, "model", encoder)  # timm's encoders are wrapped
        fill_fitting(inner, read_weights(params.encoder_weights), origin=params.encoder_weights)
    if params.weights:
        fill_fitting(model, read_weights(params.weights), origin=params.weights)
    return model
