"""The parts that generator and surrogate share, built from the modules of `segment_anything`.

Axes in names: B batch, C channels, H W pixels or cells, N tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT, PromptEncoder, TwoWayTransformer, common
from torch import Tensor, nn
from torch.nn import functional as F

from unseg_core.model.prompts import Prompts
from unseg_core.model.sizes import Size

# ImageNet statistics for images in [0, 1].
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)


def normalise(image_BCHW: Tensor) -> Tensor:
    """ImageNet-normalise an image in [0, 1]. Zero padding comes before this, not after."""
    mean = torch.tensor(PIXEL_MEAN, device=image_BCHW.device).view(1, 3, 1, 1)
    std = torch.tensor(PIXEL_STD, device=image_BCHW.device).view(1, 3, 1, 1)
    return (image_BCHW - mean) / std


def build_image_encoder(size: Size, input_size: int) -> ImageEncoderViT:
    """SAM's ViT for square inputs of `input_size` pixels."""
    encoder = ImageEncoderViT(
        img_size=input_size,
        patch_size=size.patch_size,
        embed_dim=size.embed_dim,
        depth=size.depth,
        num_heads=size.num_heads,
        mlp_ratio=4,
        out_chans=size.prompt_dim,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=size.window_size,
        global_attn_indexes=size.global_blocks,
    )
    # Entries and numbers stay the same.
    encoder.neck[1], encoder.neck[3] = LayerNorm2d(size.prompt_dim), LayerNorm2d(size.prompt_dim)
    return encoder


def build_prompt_encoder(size: Size, input_size: int) -> PromptEncoder:
    """SAM's prompt encoder for coordinates in an image of `input_size` pixels."""
    cells = input_size // size.patch_size
    return PromptEncoder(
        embed_dim=size.prompt_dim,
        image_embedding_size=(cells, cells),
        input_image_size=(input_size, input_size),
        mask_in_chans=size.mask_channels,
    )


def build_transformer(size: Size) -> TwoWayTransformer:
    """SAM's two-layer two-way transformer."""
    return TwoWayTransformer(
        depth=2, embedding_dim=size.prompt_dim, mlp_dim=size.decoder_mlp_dim, num_heads=size.decoder_heads
    )


class LayerNorm2d(common.LayerNorm2d):  # type: ignore[misc]  # segment_anything is untyped
    """SAM's normalisation over channels by torch's own kernel: faster, and a fifth of the memory with gradients."""

    def forward(self, image_BCHW: Tensor) -> Tensor:
        image_BHWC = image_BCHW.permute(0, 2, 3, 1)
        return F.layer_norm(image_BHWC, self.weight.shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


def build_upscaling(dim: int) -> nn.Sequential:
    """SAM's fourfold up-sampling of the image embedding, dim -> dim/8 channels."""
    return nn.Sequential(
        nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
        LayerNorm2d(dim // 4),
        nn.GELU(),
        nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
        nn.GELU(),
    )


def encode_prompts(encoder: PromptEncoder, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Embed one group of prompts of the same kinds: sparse [B, N, C] and dense [B, C, h, w]."""
    points = None if prompts.points is None else (prompts.points, prompts.point_labels)
    sparse, dense = encoder(points=points, boxes=prompts.boxes, masks=prompts.masks)
    return sparse.expand(prompts.count, -1, -1), dense.expand(prompts.count, -1, -1, -1)


def decode_groups(groups: Sequence[Prompts], decode: Callable[[Prompts], Tensor]) -> Tensor:
    """Decode every group and put the results into the order of their rows: [P, ...]."""
    rows = torch.cat([prompts.row for prompts in groups])
    return torch.cat([decode(prompts) for prompts in groups])[torch.argsort(rows)]


def attend(
    transformer: TwoWayTransformer,
    embedding_BCHW: Tensor,
    position_1CHW: Tensor,
    dense_BCHW: Tensor,
    tokens_BNC: Tensor,
) -> tuple[Tensor, Tensor]:
    """Let tokens and image attend to each other: the tokens [B, N, C] and the image [B, C, h, w] afterwards."""
    source = embedding_BCHW + dense_BCHW
    tokens, flat = transformer(source, position_1CHW.expand_as(source), tokens_BNC)
    return tokens, flat.transpose(1, 2).reshape(source.shape)


def resize(image_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, half-pixel centres, no antialias: the one resize of the method."""
    return F.interpolate(image_BCHW, size=size, mode="bilinear", align_corners=False)
