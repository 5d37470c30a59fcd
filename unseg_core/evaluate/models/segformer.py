"""SegFormer (Xie et al., NeurIPS 2021, arXiv 2105.15203) from segmentation-models-pytorch, with its MiT encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unseg_core.evaluate.models.model import Entry
from unseg_core.evaluate.models.semantic import SemanticModel
from unseg_core.evaluate.models.smp_encoders import check_encoder, load_weights, named_weights

if TYPE_CHECKING:
    from unseg_core.params import EvaluateParams

CHANNELS = {"paper": 256, "tiny": 32}
"""Of the decoder; the paper has 256 for MiT-B0 and B1."""


def build_segformer(params: EvaluateParams, classes: int) -> SemanticModel:
    import segmentation_models_pytorch as smp

    check_encoder(params.encoder)
    network = smp.Segformer(
        encoder_name=params.encoder,
        encoder_weights=named_weights(params),
        decoder_segmentation_channels=CHANNELS[params.width],
        classes=classes + 1,
    )
    return SemanticModel(load_weights(network, params))


SEGFORMER = Entry(build=build_segformer, tasks=frozenset({"semantic", "medical"}))
