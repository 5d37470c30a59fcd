"""DeepLabV3 (Chen et al., 2017, arXiv 1706.05587) from segmentation-models-pytorch, at output stride 8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unseg_core.errors import ParameterError
from unseg_core.evaluate.models.model import Entry
from unseg_core.evaluate.models.semantic import SemanticModel
from unseg_core.evaluate.models.smp_encoders import check_encoder, load_weights, named_weights

if TYPE_CHECKING:
    from unseg_core.params import EvaluateParams

CHANNELS = {"paper": 256, "tiny": 32}


def build_deeplabv3(params: EvaluateParams, classes: int) -> SemanticModel:
    import segmentation_models_pytorch as smp

    check_encoder(params.encoder)
    try:
        network = smp.DeepLabV3(
            encoder_name=params.encoder,
            encoder_weights=named_weights(params),
            decoder_channels=CHANNELS[params.width],
            classes=classes + 1,
        )
    except ValueError as error:
        # Of encoders whose last stages cannot be dilated.
        raise ParameterError(f"evaluate.encoder {params.encoder!r} does not fit deeplabv3 ({error})") from None
    return SemanticModel(load_weights(network, params))


DEEPLABV3 = Entry(build=build_deeplabv3, tasks=frozenset({"semantic", "medical"}))
