"""Objects of an image that has no masks, as SAM proposes them (Kirillov et al., Segment Anything, ICCV 2023).

A generator carries all of SAM, also the parts that no noise needs. While those are SAM's own, because the generator
started from it and trained its noise alone, it can segment as SAM does: a grid of points, and of the masks for each
the certain and stable ones.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import MaskDecoder, Sam
from torch import Tensor, nn

from unseg_core.data.sample import Target, segment_of
from unseg_core.errors import WeightsError
from unseg_core.images import resize_nearest
from unseg_core.model.encoder import run_encoder
from unseg_core.model.generator import Generator
from unseg_core.model.weights import read_metadata

LARGEST_SHARE = 0.5
"""Of the image. What is larger is taken for its background: SAM segments sky and floor as it does objects."""


class MaskProposer:
    """Proposes objects with a generator's SAM parts."""

    def __init__(
        self,
        generator: Generator,
        *,
        points_per_side: int = 32,
        predicted_iou: float = 0.88,
        stability: float = 0.95,
        largest_share: float = LARGEST_SHARE,
    ) -> None:
        """The defaults are SAM's.

        Args:
            points_per_side: of the grid; the time goes with its square.
            predicted_iou: masks that SAM itself rates lower are dropped.
            stability: and those that change more with the threshold.
            largest_share: and those that cover more of the image.
        """
        self._side = generator.size.input_size
        self._largest_share = largest_share
        self._masks = SamAutomaticMaskGenerator(
            sam_of(generator),
            points_per_side=points_per_side,
            pred_iou_thresh=predicted_iou,
            stability_score_thresh=stability,
        )

    def propose(self, image_HWC: np.ndarray) -> Target:
        """The objects of a uint8 HxWx3 image, of one class, smaller ones on top; none if SAM is sure of none."""
        height, width = image_HWC.shape[:2]
        # No more pixels than SAM sees: it holds the masks of many points at the image's size at one time.
        small = _reduced(image_HWC, self._side)
        largest = self._largest_share * small.shape[0] * small.shape[1]
        found = [one for one in self._masks.generate(small) if 0 < one["area"] <= largest]
        found.sort(key=lambda one: (-one["area"], one["bbox"]))
        masks = [resize_nearest(one["segmentation"], height, width) for one in found]
        return Target(height=height, width=width, segments=tuple(segment_of(mask, 1) for mask in masks))


def check_has_sam(path: Path) -> None:
    """Raise WeightsError unless the generator in this file still has SAM's own parts, and could be asked for masks."""
    provenance = json.loads(read_metadata(path).get("provenance", "{}"))
    if provenance.get("initialisation") not in ("sam", "published") or provenance.get("train_sam"):
        raise WeightsError(
            f"{path} has no SAM in it that could propose masks; give masks, use prompt 'whole', or a generator that "
            "started from SAM (weights.generator: sam or published)"
        )


def sam_of(generator: Generator) -> Sam:
    """SAM from a generator's modules, which it shares."""
    ours = generator.mask_decoder
    # Its own parameters are replaced: no memory and no random numbers for them.
    with torch.device("meta"):
        decoder = MaskDecoder(transformer_dim=generator.size.prompt_dim, transformer=ours.transformer)
    decoder.iou_token, decoder.mask_tokens = ours.iou_token, ours.mask_tokens
    decoder.output_upscaling = ours.output_upscaling
    decoder.output_hypernetworks_mlps = ours.output_hypernetworks_mlps
    decoder.iou_prediction_head = ours.iou_prediction_head
    # Its first buffers are on the CPU; the generator's modules are where they belong already.
    return Sam(_Encoder(generator), generator.prompt_encoder, decoder).to(next(generator.parameters()).device).eval()


class _Encoder(nn.Module):
    """The generator's image encoder behind the interface of SAM's."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.encoder, self.early_block = generator.image_encoder, generator.size.global_blocks[0]
        self.img_size = generator.size.input_size

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return run_encoder(self.encoder, image_BCHW, self.early_block)[0]


def _reduced(image_HWC: np.ndarray, side: int) -> np.ndarray:
    """No longer than `side`."""
    height, width = image_HWC.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image_HWC
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(image_HWC).resize(size, Image.Resampling.BILINEAR))
