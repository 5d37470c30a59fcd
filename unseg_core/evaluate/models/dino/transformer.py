"""Encoder and decoder with multi-scale deformable attention; names of parts are those of the official checkpoints."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unseg_core.evaluate.models.dino.boxes import inverse_sigmoid
from unseg_core.evaluate.models.dino.positions import box_positions, pixel_centres, proposals, valid_ratios
from unseg_core.evaluate.models.dino.sizes import LEVELS, DinoSize


@dataclass(frozen=True, kw_only=True)
class Pyramid:
    """All feature maps of a batch, one after the other."""

    values: Tensor
    """[B, P, C]"""
    positions: Tensor
    """[B, P, C]"""
    inside: Tensor
    """bool [B, P]: not padding"""
    shapes: list[tuple[int, int]]
    ratios: Tensor
    """[B, levels, 2]: see valid_ratios."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What is found at each of the decoder's layers, and first by the encoder."""

    logits: list[Tensor]
    """[B, N, classes] per layer"""
    boxes: list[Tensor]
    """[B, N, 4] per layer: centre, width, height as shares"""
    first_logits: Tensor
    first_boxes: Tensor


class Perceptron(nn.Module):
    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, values: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            values = F.relu(layer(values))
        return cast(Tensor, self.layers[-1](values))


def deformable_attention(size: DinoSize) -> nn.Module:
    """transformers' attention, with the first directions of Deformable DETR (Zhu et al., ICLR 2021)."""
    from transformers import DeformableDetrConfig
    from transformers.models.deformable_detr import modeling_deformable_detr as library

    configuration: Any = DeformableDetrConfig  # its arguments are not known to type checkers
    config = configuration(d_model=size.width, num_feature_levels=LEVELS)
    attention = library.DeformableDetrMultiscaleDeformableAttention(config, size.heads, size.points)
    nn.init.zeros_(attention.sampling_offsets.weight)
    angles = torch.arange(size.heads) * (2.0 * math.pi / size.heads)
    directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
    directions = directions / directions.abs().amax(-1, keepdim=True)
    steps = torch.arange(1, size.points + 1).view(1, 1, -1, 1)
    offsets = directions.view(size.heads, 1, 1, 2) * steps.expand(size.heads, LEVELS, size.points, 1)
    attention.sampling_offsets.bias.data.copy_(offsets.flatten())
    for part in (attention.attention_weights, attention.value_proj, attention.output_proj):
        nn.init.zeros_(part.bias)
    nn.init.zeros_(attention.attention_weights.weight)
    nn.init.xavier_uniform_(attention.value_proj.weight)
    nn.init.xavier_uniform_(attention.output_proj.weight)
    return attention


def look(attention: nn.Module, queries: Tensor, points: Tensor, pyramid: Pyramid) -> Tensor:
    """Sample the pyramid's values around points [B, N, levels, 2] or boxes [B, N, levels, 4]."""
    shapes = torch.tensor(pyramid.shapes, device=queries.device)
    starts = torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]])
    result: Tensor = attention(
        hidden_states=queries,
        attention_mask=pyramid.inside,
        encoder_hidden_states=pyramid.values,
        reference_points=points,
        spatial_shapes=shapes,
        spatial_shapes_list=pyramid.shapes,
        level_start_index=starts,
    )[0]
    return result


class EncoderLayer(nn.Module):
    def __init__(self, size: DinoSize) -> None:
        super().__init__()
        self.self_attn = deformable_attention(size)
        self.norm1 = nn.LayerNorm(size.width)
        self.linear1 = nn.Linear(size.width, size.hidden)
        self.linear2 = nn.Linear(size.hidden, size.width)
        self.norm2 = nn.LayerNorm(size.width)

    def forward(self, pyramid: Pyramid, points: Tensor) -> Tensor:
        values = pyramid.values
        values = self.norm1(values + look(self.self_attn, values + pyramid.positions, points, pyramid))
        return cast(Tensor, self.norm2(values + self.linear2(F.relu(self.linear1(values)))))


class DecoderLayer(nn.Module):
    def __init__(self, size: DinoSize) -> None:
        super().__init__()
        self.cross_attn = deformable_attention(size)
        self.norm1 = nn.LayerNorm(size.width)
        self.self_attn = nn.MultiheadAttention(size.width, size.heads, batch_first=True)
        self.norm2 = nn.LayerNorm(size.width)
        self.linear1 = nn.Linear(size.width, size.hidden)
        self.linear2 = nn.Linear(size.hidden, size.width)
        self.norm3 = nn.LayerNorm(size.width)

    def forward(self, values: Tensor, positions: Tensor, boxes: Tensor, pyramid: Pyramid, hidden: Tensor) -> Tensor:
        """`hidden` bool [N, N]: which queries (columns) a query does not see."""
        query = values + positions
        attended = self.self_attn(query, query, values, attn_mask=hidden, need_weights=False)[0]
        values = self.norm2(values + attended)
        values = self.norm1(values + look(self.cross_attn, values + positions, boxes, pyramid))
        return cast(Tensor, self.norm3(values + self.linear2(F.relu(self.linear1(values)))))


class Encoder(nn.Module):
    def __init__(self, size: DinoSize) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(size) for _ in range(size.layers))

    def forward(self, pyramid: Pyramid) -> Pyramid:
        points = pixel_centres(pyramid.shapes, pyramid.ratios)[:, :, None] * pyramid.ratios[:, None]
        for layer in self.layers:
            pyramid = Pyramid(**{**pyramid.__dict__, "values": layer(pyramid, points)})
        return pyramid


class Decoder(nn.Module):
    def __init__(self, size: DinoSize, classes: int) -> None:
        super().__init__()
        self.width = size.width
        self.layers = nn.ModuleList(DecoderLayer(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width)
        self.ref_point_head = Perceptron(2 * size.width, size.width, size.width)
        # One for all layers, which checkpoints repeat under a number for each.
        self.bbox_embed = nn.ModuleList([box_head(size)])
        self.class_embed = nn.ModuleList([class_head(size, classes)])

    def forward(
        self, values: Tensor, boxes: Tensor, pyramid: Pyramid, hidden: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Logits and boxes of each layer; each looks forward twice: its box counts for its own and the layer before.

        Args:
            values: content of the queries, [B, N, C].
            boxes: their first boxes, [B, N, 4].
        """
        ratios = torch.cat([pyramid.ratios, pyramid.ratios], dim=-1)
        logits, found = [], []
        before = boxes
        for layer in self.layers:
            reference = boxes[:, :, None] * ratios[:, None]
            positions = self.ref_point_head(box_positions(reference[:, :, 0], self.width))
            values = layer(values, positions, reference, pyramid, hidden)
            refined = (self.bbox_embed[0](values) + inverse_sigmoid(boxes)).sigmoid()
            normed = self.norm(values)
            logits.append(self.class_embed[0](normed))
            found.append((self.bbox_embed[0](normed) + inverse_sigmoid(before)).sigmoid())
            boxes, before = refined.detach(), refined
        return logits, found


class Transformer(nn.Module):
    """Encoder, selection of the queries' first boxes, decoder."""

    def __init__(self, size: DinoSize, classes: int) -> None:
        super().__init__()
        self.size = size
        self.encoder = Encoder(size)
        self.decoder = Decoder(size, classes)
        self.level_embed = nn.Parameter(torch.empty(LEVELS, size.width))
        self.tgt_embed = nn.Embedding(size.queries, size.width)
        self.enc_output = nn.Linear(size.width, size.width)
        self.enc_output_norm = nn.LayerNorm(size.width)
        self.enc_out_bbox_embed = box_head(size)
        self.enc_out_class_embed = class_head(size, classes)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.level_embed)
        nn.init.normal_(self.tgt_embed.weight)
        for layer in self.modules():
            if isinstance(layer, EncoderLayer | DecoderLayer):
                nn.init.xavier_uniform_(layer.linear1.weight)
                nn.init.xavier_uniform_(layer.linear2.weight)

    def forward(
        self, maps: list[Tensor], positions: list[Tensor], inside: list[Tensor], extra: tuple[Tensor, Tensor, Tensor]
    ) -> Decoded:
        """
        Args:
            maps, positions: [B, C, H, W] per level.
            inside: bool [B, H, W] per level.
            extra: contents [B, M, C] and boxes [B, M, 4] of the queries to denoise, and bool [M + N, M + N]: what
                each query does not see.
        """
        levels = [one + self.level_embed[i].view(1, -1, 1, 1) for i, one in enumerate(positions)]
        pyramid = Pyramid(
            values=torch.cat([one.flatten(2).transpose(1, 2) for one in maps], dim=1),
            positions=torch.cat([one.flatten(2).transpose(1, 2) for one in levels], dim=1),
            inside=torch.cat([one.flatten(1) for one in inside], dim=1),
            shapes=[(one.shape[2], one.shape[3]) for one in maps],
            ratios=valid_ratios(inside),
        )
        pyramid = self.encoder(pyramid)
        first_logits, first_boxes = self._select(pyramid)
        contents, boxes, hidden = extra
        queries = self.tgt_embed.weight[: first_boxes.shape[1]].expand(len(contents), -1, -1)
        logits, found = self.decoder(
            torch.cat([contents, queries], dim=1),
            torch.cat([boxes, first_boxes.detach()], dim=1),
            pyramid,
            hidden,
        )
        return Decoded(logits=logits, boxes=found, first_logits=first_logits, first_boxes=first_boxes)

    def _select(self, pyramid: Pyramid) -> tuple[Tensor, Tensor]:
        """Logits and boxes of the pixels that look most like an object (mixed query selection)."""
        centres = pixel_centres(pyramid.shapes, pyramid.ratios)
        start, usable = proposals(centres, pyramid.shapes, pyramid.inside)
        memory = self.enc_output_norm(self.enc_output(pyramid.values * usable))
        logits = self.enc_out_class_embed(memory)
        count = min(self.size.queries, logits.shape[1])
        ranked = logits.max(-1).values.masked_fill(~usable.squeeze(-1), -torch.inf)
        best = ranked.topk(count, dim=1).indices.unsqueeze(-1)
        boxes = (self.enc_out_bbox_embed(memory) + start).sigmoid()
        return (
            torch.gather(logits, 1, best.expand(-1, -1, logits.shape[-1])),
            torch.gather(boxes, 1, best.expand(-1, -1, 4)),
        )


def box_head(size: DinoSize) -> Perceptron:
    head = Perceptron(size.width, size.width, size.width, 4)
    nn.init.zeros_(head.layers[-1].weight)  # type: ignore[arg-type]  # of a Linear
    nn.init.zeros_(head.layers[-1].bias)  # type: ignore[arg-type]
    return head


def class_head(size: DinoSize, classes: int) -> nn.Linear:
    """Starts at a probability of 1 % (focal loss, Lin et al., ICCV 2017)."""
    head = nn.Linear(size.width, classes)
    nn.init.constant_(head.bias, -math.log(99.0))
    return head
