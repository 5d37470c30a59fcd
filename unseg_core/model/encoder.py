"""SAM's ViT, run faster and in less memory than its own `forward`, from the same modules and to the same numbers.

Two things differ from `segment_anything`: attention never keeps the scores of all pairs, and the empty cells that pad
the last windows are not multiplied (their queries, keys and values are the bias of the projection). Without gradients
on a CPU `encoder_inference` takes over.

Axes in names: B images, Y X cells, C channels, T = B * Y * X.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Attention, Block, window_partition, window_unpartition
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from unseg_core.model.attention import folded_attention, position_terms
from unseg_core.model.encoder_inference import run_in_place


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How blocks run; changes results only in the last bits."""

    recompute_blocks: bool = False
    """Keep only each block's input for the backward pass."""
    compiled: bool = False
    """Fuse what lies between the products by torch.compile, where gradients are wanted or on a GPU."""


DEFAULT_EXECUTION = Execution()


def run_encoder(
    encoder: ImageEncoderViT, image_BCHW: Tensor, early_block: int, how: Execution = DEFAULT_EXECUTION
) -> tuple[Tensor, Tensor]:
    """Run the ViT on a normalised image.

    Returns:
        The embedding [B, prompt_dim, y, x], and the output of block `early_block` as [B, embed_dim, y, x].
    """
    if not torch.is_grad_enabled() and image_BCHW.device.type == "cpu":
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        cells_BYXC, early = run_in_place(encoder, image_BCHW, early_block, dtype)
    else:
        cells_BYXC = early = (encoder.patch_embed(image_BCHW) + encoder.pos_embed).contiguous()
        for index, block in enumerate(encoder.blocks):
            cells_BYXC = _run_anywhere(block, cells_BYXC, how)
            if index == early_block:
                early = cells_BYXC
    return encoder.neck(cells_BYXC.permute(0, 3, 1, 2)), early.permute(0, 3, 1, 2)


def _run_anywhere(block: Block, cells_BYXC: Tensor, how: Execution) -> Tensor:
    """One block, with gradients if they are wanted."""
    run = _compiled_run() if how.compiled else _run
    if how.recompute_blocks and torch.is_grad_enabled():
        return _forget(lambda cells: run(block, cells), cells_BYXC)
    return run(block, cells_BYXC)


@cache
def _compiled_run() -> Callable[[Block, Tensor], Tensor]:
    compiled: Callable[[Block, Tensor], Tensor] = torch.compile(_run, dynamic=False)
    return compiled


def _run(block: Block, cells_BYXC: Tensor) -> Tensor:
    attention, mlp = block.attn, block.mlp
    projected = _forget(lambda cells: F.linear(block.norm1(cells), attention.qkv.weight), cells_BYXC)
    attended = _forget(lambda cells: _attend(attention, cells, block.window_size), projected)
    cells_BYXC = cells_BYXC + attention.proj(attended)
    hidden = _forget(lambda cells: mlp.lin1(block.norm2(cells)), cells_BYXC)
    return cells_BYXC + _forget(lambda values: mlp.lin2(mlp.act(values)), hidden)


def _forget(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Apply `function`, but keep only its input for the backward pass.

    That pass computes the rest again, up to the last tensor that a gradient needs: normalisation, GELU and attention,
    but not the products with weights, which are nearly all of the time.
    """
    if not torch.is_grad_enabled():
        return function(values)
    out: Tensor = checkpoint(function, values, use_reentrant=False, preserve_rng_state=False)
    return out


def _attend(attention: Attention, projected_BYXC: Tensor, window: int) -> Tensor:
    """Attention in windows (or everywhere for window 0) from projected cells without bias, before the output's."""
    size = padded = (projected_BYXC.shape[1], projected_BYXC.shape[2])
    if window:
        projected_BYXC, padded = window_partition(projected_BYXC, window)
    attended = _attend_windows(attention, projected_BYXC + attention.qkv.bias)
    return window_unpartition(attended, window, padded, size) if window else attended


def _attend_windows(attention: Attention, projected_BYXC: Tensor) -> Tensor:
    """Attention of every window over itself: from projected queries, keys and values [B, y, x, 3C] to [B, y, x, C]."""
    batch, rows, columns, channels = projected_BYXC.shape
    split = projected_BYXC.view(batch, rows * columns, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = split.unbind(0)
    terms = position_terms(query, attention.rel_pos_h, attention.rel_pos_w, (rows, columns))
    attended = folded_attention(query, key, value, *terms)
    return attended.transpose(1, 2).reshape(batch, rows, columns, channels // 3)
