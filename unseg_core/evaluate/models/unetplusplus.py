"""UNet++ (Zhou et al., DLMIA 2018) from segmentation-models-pytorch, with any of its encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unseg_core.evaluate.models.model import Entry
from unseg_core.evaluate.models.semantic import SemanticModel
from unseg_core.evaluate.models.smp_encoders import check_encoder, load_weights, named_weights

if TYPE_CHECKING:
    from unseg_core.params import EvaluateParams


def build_unetplusplus(params: EvaluateParams, classes: int) -> SemanticModel:
    import segmentation_models_pytorch as smp

    check_encoder(params.encoder)
    network = smp.UnetPlusPlus(
        encoder_name=params.encoder,
        encoder_weights=named_weights(params),
        encoder_depth=len(params.decoder_channels),
        decoder_channels=params.decoder_channels,
        classes=classes + 1,
    )
    return SemanticModel(load_weights(network, params))


UNETPLUSPLUS = Entry(build=build_unetplusplus, tasks=frozenset({"semantic", "medical"}))
