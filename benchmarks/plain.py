"""The plain path that the benchmarks compare with: segment_anything's own modules, as shipped."""

from __future__ import annotations

from segment_anything.modeling import ImageEncoderViT
from torch import Tensor

from unseg_core.model import generator, parts, surrogate


def run_sam_encoder(
    encoder: ImageEncoderViT, image_BCHW: Tensor, early_block: int, how: object = None
) -> tuple[Tensor, Tensor]:
    """`ImageEncoderViT.forward`, which also hands out the early feature."""
    cells = encoder.patch_embed(image_BCHW) + encoder.pos_embed
    early = cells
    for index, block in enumerate(encoder.blocks):
        cells = block(cells)
        if index == early_block:
            early = cells
    return encoder.neck(cells.permute(0, 3, 1, 2)), early.permute(0, 3, 1, 2)


def use_plain_modules() -> None:
    """Let both networks of this process run SAM's encoder and normalisation."""
    generator.run_encoder = surrogate.run_encoder = run_sam_encoder
    del parts.LayerNorm2d.forward
