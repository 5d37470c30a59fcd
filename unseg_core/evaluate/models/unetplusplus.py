"""UNet++ (Zhou et al., 2018) from segmentation-models-pytorch, from scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unseg_core.errors import ParameterError

if TYPE_CHECKING:
    from torch import nn

    from unseg_core.params import EvaluateParams


def build_unetplusplus(params: EvaluateParams, classes: int) -> nn.Module:
    import segmentation_models_pytorch as smp

    if params.encoder not in smp.encoders.get_encoder_names() and not params.encoder.startswith("tu-"):
        raise ParameterError(f"evaluate.encoder is {params.encoder!r}; segmentation-models-pytorch has no such encoder")
    model: nn.Module = smp.UnetPlusPlus(
        encoder_name=params.encoder,
        encoder_weights=None,
        encoder_depth=len(params.decoder_channels),
        decoder_channels=params.decoder_channels,
        classes=classes,
    )
    return model
