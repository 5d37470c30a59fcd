"""The surrogate: a promptable segmenter at half the generator's resolution, trained from a ViT's start.

UnSeg (Sun et al., NeurIPS 2024), section 4.2: SAM's architecture with three mask tokens, no IoU token and no IoU head.
Its image encoder is SAM's ViT or, for the study of other surrogates, a ResNet-50.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn

from unseg_core.errors import WeightsError
from unseg_core.model.encoder import Execution, run_encoder
from unseg_core.model.parts import (
    attend,
    build_image_encoder,
    build_prompt_encoder,
    build_transformer,
    build_upscaling,
    decode_groups,
    encode_prompts,
    normalise,
    resize,
)
from unseg_core.model.prompts import Prompts
from unseg_core.model.resnet import ResNetEncoder
from unseg_core.model.sizes import Size

MASK_TOKENS = 3
DEFAULT_ENCODER = "vit"
ENCODERS: dict[str, Callable[[Size, int], nn.Module]] = {
    "vit": build_image_encoder,
    "resnet50": lambda size, input_size: ResNetEncoder(size=size),
}


class SurrogateDecoder(nn.Module):
    """Mask decoder that returns mask 0; the other two tokens act through self-attention only."""

    def __init__(self, *, size: Size) -> None:
        super().__init__()
        dim = size.prompt_dim
        self.transformer = build_transformer(size)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, dim)
        self.output_upscaling = build_upscaling(dim)
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(dim, dim, dim // 8, 3) for _ in range(MASK_TOKENS))

    def forward(self, embedding_BCHW: Tensor, position_1CHW: Tensor, sparse_BNC: Tensor, dense_BCHW: Tensor) -> Tensor:
        """Mask logits [B, 1, 4h, 4w]."""
        tokens = torch.cat([self.mask_tokens.weight.expand(sparse_BNC.shape[0], -1, -1), sparse_BNC], dim=1)
        tokens, image = attend(self.transformer, embedding_BCHW, position_1CHW, dense_BCHW, tokens)
        upscaled = self.output_upscaling(image)
        weights_BC = self.output_hypernetworks_mlps[0](tokens[:, 0])
        return torch.einsum("bc,bchw->bhw", weights_BC, upscaled).unsqueeze(1)


class Surrogate(nn.Module):
    """Image and prompts to mask logits."""

    def __init__(self, *, size: Size, encoder: str = DEFAULT_ENCODER) -> None:
        """
        Args:
            encoder: a name in ENCODERS.

        Raises:
            WeightsError: there is no such encoder.
        """
        super().__init__()
        if encoder not in ENCODERS:
            raise WeightsError(f"a surrogate has no image encoder {encoder!r}; choose one of {', '.join(ENCODERS)}")
        self.size = size
        self.encoder = encoder
        self.execution = Execution()
        self.image_encoder = ENCODERS[encoder](size, size.surrogate_input_size)
        self.prompt_encoder = build_prompt_encoder(size, size.surrogate_input_size)
        self.mask_decoder = SurrogateDecoder(size=size)

    def forward(self, image_BCHW: Tensor, groups: Sequence[Prompts]) -> Tensor:
        """
        Args:
            image_BCHW: float in [0, 1] at the surrogate's input size, noise already added.
            groups: prompts of P objects.

        Returns:
            Mask logits [P, 1, m, m] in the order of the prompts' rows, m = size.noise_size / 2.
        """
        embedding = self._embed(normalise(image_BCHW))
        position = self.prompt_encoder.get_dense_pe()

        def decode(prompts: Prompts) -> Tensor:
            sparse, dense = encode_prompts(self.prompt_encoder, prompts)
            logits: Tensor = self.mask_decoder(embedding[prompts.image], position, sparse, dense)
            return logits

        return decode_groups(groups, decode)

    def _embed(self, image_BCHW: Tensor) -> Tensor:
        """Embedding [B, C, h, w] of a normalised image."""
        if isinstance(self.image_encoder, ImageEncoderViT):
            return run_encoder(self.image_encoder, image_BCHW, -1, self.execution)[0]
        embedding: Tensor = self.image_encoder(image_BCHW)
        return embedding


def surrogate_input(
    image_BCHW: Tensor, noise_BCHW: Tensor, label_B1HW: Tensor, *, epsilon: float, epsilon_bg: float
) -> Tensor:
    """What the surrogate sees in training: image in [0, 1] plus noise within the budget, clamped.

    Args:
        image_BCHW: float in [0, 1] at the surrogate's input size.
        noise_BCHW: float in [-1, 1], any size; resized to the image.
        label_B1HW: soft label in [0, 1] at the image's size; its rounding is the region.
    """
    noise = resize(noise_BCHW, (image_BCHW.shape[-2], image_BCHW.shape[-1]))
    region = label_B1HW.round()
    change = noise * (region * (epsilon / 255.0) + (1.0 - region) * (epsilon_bg / 255.0))
    return (image_BCHW + change).clamp(0.0, 1.0)
