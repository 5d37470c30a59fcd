"""The noise generator: SAM with three noise tokens and the branches that turn them into an image of noise.

UnSeg (Sun et al., NeurIPS 2024), section 4.1; entry names and the rows that are read follow the published checkpoint.
Every trained entry has "noise" in its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn

from unseg_core.model.encoder import Execution, run_encoder
from unseg_core.model.noise_filters import AS_USUAL, DEFAULT_FILTER, NOISE_FILTERS, InUse
from unseg_core.model.parts import (
    LayerNorm2d,
    attend,
    build_image_encoder,
    build_prompt_encoder,
    build_transformer,
    build_upscaling,
    decode_groups,
    encode_prompts,
    normalise,
)
from unseg_core.model.prompts import Prompts
from unseg_core.model.sizes import Size

NOISE_CHANNELS = 3
MASK_TOKENS = 4
# Token rows: iou 0, mask 1-4, noise 5-7. The published networks read rows 4-6, so the weights depend on it.
FIRST_NOISE_ROW = 4


class NoiseDecoder(nn.Module):
    """SAM's mask decoder plus the noise branches; the mask and IoU heads are carried but not run."""

    def __init__(self, *, size: Size, noise_filter: str) -> None:
        super().__init__()
        self.noise_filter = NOISE_FILTERS[noise_filter]
        dim, eighth = size.prompt_dim, size.prompt_dim // 8
        self.transformer = build_transformer(size)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, dim)
        self.output_upscaling = build_upscaling(dim)
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(dim, dim, eighth, 3) for _ in range(MASK_TOKENS))
        self.iou_prediction_head = MLP(dim, dim, MASK_TOKENS, 3)
        self.noise_token = nn.Embedding(NOISE_CHANNELS, dim)
        self.noise_mlp = nn.ModuleList(MLP(dim, dim, eighth, 3) for _ in range(NOISE_CHANNELS))
        self.noise_compress_vit_feat = _noise_branch(size.embed_dim, dim, eighth)
        self.noise_embedding_encoder = _noise_branch(dim, dim // 4, eighth)
        self.noise_embedding_maskfeature = nn.Sequential(
            nn.Conv2d(eighth, 2 * eighth, 3, padding=1),
            LayerNorm2d(2 * eighth),
            nn.GELU(),
            nn.Conv2d(2 * eighth, eighth, 3, padding=1),
        )
        for name, parameter in self.named_parameters():
            if "noise" in name and (parameter.dim() == 4 or name.startswith("noise_token")):
                nn.init.xavier_uniform_(parameter)

    def features(self, embedding_BCHW: Tensor, early_BCHW: Tensor) -> Tensor:
        """The part of the noise features that does not depend on the prompt, [B, C/8, 4h, 4w]."""
        features: Tensor = self.noise_embedding_encoder(embedding_BCHW) + self.noise_compress_vit_feat(early_BCHW)
        return features

    def forward(
        self,
        embedding_BCHW: Tensor,
        features_BCHW: Tensor,
        position_1CHW: Tensor,
        sparse_BNC: Tensor,
        dense_BCHW: Tensor,
        *,
        small_B1HW: Tensor | None = None,
        use: InUse = AS_USUAL,
    ) -> Tensor:
        """Noise in (-1, 1) for one prompt per sample: [B, 3, 4h, 4w], or what the filter makes of it.

        `small_B1HW` is as of `Prompts`, `use` as of `Generator.forward`.
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight, self.noise_token.weight])
        tokens = torch.cat([own.expand(sparse_BNC.shape[0], -1, -1), sparse_BNC], dim=1)
        tokens, image = attend(self.transformer, embedding_BCHW, position_1CHW, dense_BCHW, tokens)
        features = self.noise_embedding_maskfeature(self.output_upscaling(image)) + features_BCHW
        # Always float32: it costs little, and rounding here would show in every value of the noise.
        with torch.autocast(features.device.type, enabled=False):
            rows = tokens.float()[:, FIRST_NOISE_ROW:].unbind(1)
            weights_BKC = torch.stack([mlp(row) for mlp, row in zip(self.noise_mlp, rows, strict=False)], dim=1)
            product_BKHW = torch.einsum("bkc,bchw->bkhw", weights_BKC, features.float())
            if self.training:
                return self.noise_filter.in_training(product_BKHW)
            return self.noise_filter.in_use(product_BKHW, small_B1HW, use)


def _noise_branch(channels: int, hidden: int, out: int) -> nn.Sequential:
    """conv3x3, then fourfold up-sampling; 2x2 transposed convolutions."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1),
        LayerNorm2d(channels),
        nn.GELU(),
        nn.ConvTranspose2d(channels, hidden, 2, stride=2),
        LayerNorm2d(hidden),
        nn.GELU(),
        nn.ConvTranspose2d(hidden, out, 2, stride=2),
    )


@dataclass(frozen=True, kw_only=True)
class EncodedImages:
    """What all prompts of an image share."""

    embedding: Tensor
    """[B, C, h, w]"""
    features: Tensor
    """[B, C/8, 4h, 4w], the noise features that do not depend on the prompt."""


class Generator(nn.Module):
    """Image and prompts to noise, one forward pass."""

    def __init__(self, *, size: Size, noise_filter: str = DEFAULT_FILTER) -> None:
        """`noise_filter` is a key of NOISE_FILTERS."""
        super().__init__()
        self.size = size
        self.noise_filter = noise_filter
        self.execution = Execution()
        self.image_encoder = build_image_encoder(size, size.input_size)
        self.prompt_encoder = build_prompt_encoder(size, size.input_size)
        self.mask_decoder = NoiseDecoder(size=size, noise_filter=noise_filter)

    def noise_parameters(self) -> Iterable[nn.Parameter]:
        """The parameters that the published training trains."""
        return (p for name, p in self.named_parameters() if "noise" in name)

    def train_only_noise(self, only: bool) -> None:
        """Freeze SAM's parts (the paper) or let everything learn (sizes without pretrained weights)."""
        for name, parameter in self.named_parameters():
            trained = "noise" in name or (not only and not _carried(name))
            parameter.requires_grad_(trained)

    def encode(self, image_BCHW: Tensor) -> EncodedImages:
        """Run the image encoder, once for all prompts; a frozen one leaves no graph.

        Args:
            image_BCHW: float in [0, 1], zero-padded and resized to the input size.
        """
        trained = next(self.image_encoder.parameters()).requires_grad
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            embedding, early = run_encoder(
                self.image_encoder, normalise(image_BCHW), self.size.global_blocks[0], self.execution
            )
        return EncodedImages(embedding=embedding, features=self.mask_decoder.features(embedding, early))

    def decode(self, images: EncodedImages, prompts: Prompts, *, use: InUse = AS_USUAL) -> Tensor:
        """Noise [P, 3, n, n] in (-1, 1) of prompts of one kind; `use` as of `forward`.

        n is size.noise_size, or what the filter makes of it in use (noise_filters.FINER).
        """
        sparse, dense = encode_prompts(self.prompt_encoder, prompts)
        noise: Tensor = self.mask_decoder(
            images.embedding[prompts.image],
            images.features[prompts.image],
            self.prompt_encoder.get_dense_pe(),
            sparse,
            dense,
            small_B1HW=prompts.small,
            use=use,
        )
        return noise

    def forward(self, image_BCHW: Tensor, groups: Sequence[Prompts], *, use: InUse = AS_USUAL) -> Tensor:
        """Noise [P, 3, n, n] of all prompts, in the order of their rows; as `encode` and `decode`.

        Args:
            image_BCHW: as of `encode`.
            groups: prompts of one kind each.
            use: what is wanted of the noise filter when it is not in training.
        """
        images = self.encode(image_BCHW)
        return decode_groups(groups, lambda prompts: self.decode(images, prompts, use=use))


def _carried(name: str) -> bool:
    """True for entries that no forward pass reads, kept so that published checkpoints fit."""
    return "output_hypernetworks_mlps" in name or "iou_prediction_head" in name
