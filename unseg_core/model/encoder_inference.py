"""SAM's ViT on a CPU without gradients: in place, and a part at a time, so that what passes between products stays in
the cache. Page faults of new memory and passes over all cells were more than half of the time of SAM's own `forward`.

The residual stream stays float32; products, and what passes between them, are float32 or bfloat16.

Axes in names: B images, Y X cells, C channels, T cells of a part; H heads, N cells of a window, D channels of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Attention, Block
from torch import Tensor
from torch.nn import functional as F

from unseg_core.model.attention import chunked_attention, folded_attention, one_hot_cells, position_terms
from unseg_core.model.cast import cast, forget, linear

# Cells that are multiplied at one time. With 400 to 1,100 rows and 768 columns oneDNN's bfloat16 product takes one of
# two threads.
ROWS = {torch.float32: 1024, torch.bfloat16: 256}


def run_in_place(
    encoder: ImageEncoderViT, image_BCHW: Tensor, early_block: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Run patch embedding and blocks: the cells [B, Y, X, C], and those that block `early_block` leaves; float32."""
    with torch.autocast("cpu", enabled=False):
        cells_BYXC = early = _embed(encoder, image_BCHW)
        for index, block in enumerate(encoder.blocks):
            run = _run_in_windows if block.window_size else _run_globally
            for cells_YXC in cells_BYXC:
                run(block, cells_YXC, dtype)
            if index == early_block:
                early = cells_BYXC.clone()
            if encoder.training:  # where memory is short, and the weights may change before the next image
                forget(block)
    return cells_BYXC, early


def _embed(encoder: ImageEncoderViT, image_BCHW: Tensor) -> Tensor:
    """The patch embedding as one product, whose result already lies cell by cell; float32, since it costs 1 %."""
    projection = encoder.patch_embed.proj
    batch, channels, height, width = image_BCHW.shape
    rows, columns = projection.kernel_size
    patches = image_BCHW.reshape(batch, channels, height // rows, rows, width // columns, columns)
    patches_BYXC = patches.permute(0, 2, 4, 1, 3, 5).flatten(3)
    cells_BYXC = F.linear(patches_BYXC, projection.weight.flatten(1), projection.bias)
    return cells_BYXC.add_(encoder.pos_embed)


def _run_globally(block: Block, cells_YXC: Tensor, dtype: torch.dtype) -> None:
    attention = block.attn
    cells_TC = cells_YXC.view(-1, cells_YXC.shape[-1])
    projected = linear(attention.qkv, _normalised(block.norm1, cells_TC, dtype))
    query, key, value = projected.view(1, len(cells_TC), 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    terms = position_terms(query, attention.rel_pos_h, attention.rel_pos_w, (cells_YXC.shape[0], cells_YXC.shape[1]))
    attend = chunked_attention if dtype == torch.float32 else folded_attention
    attended = attend(query, key, value, *terms)
    _finish(block, cells_TC, attended.transpose(1, 2).reshape(cells_TC.shape), dtype)


def _run_in_windows(block: Block, cells_YXC: Tensor, dtype: torch.dtype) -> None:
    """One row of windows at a time through the whole block."""
    windows = _Windows.of(block.attn, block.window_size, cells_YXC.shape[1], dtype)
    for strip_YXC in torch.split(cells_YXC, block.window_size):
        part_TC = strip_YXC.view(-1, strip_YXC.shape[-1])
        windows.write(linear(block.attn.qkv, _normalised(block.norm1, part_TC, dtype)))
        _finish(block, part_TC, windows.attend(block.attn, len(strip_YXC)), dtype)


def _finish(block: Block, cells_TC: Tensor, attended_TC: Tensor, dtype: torch.dtype) -> None:
    """What follows the attention: its output projection and the MLP."""
    for part_TC, attended in zip(*(torch.split(t, ROWS[dtype]) for t in (cells_TC, attended_TC)), strict=True):
        part_TC += linear(block.attn.proj, attended)
        hidden = block.mlp.act(linear(block.mlp.lin1, _normalised(block.norm2, part_TC, dtype)))
        part_TC += linear(block.mlp.lin2, hidden)


def _normalised(norm: torch.nn.LayerNorm, cells_TC: Tensor, dtype: torch.dtype) -> Tensor:
    return F.layer_norm(cells_TC, norm.normalized_shape, norm.weight, norm.bias, norm.eps).to(dtype)


@dataclass(frozen=True, kw_only=True)
class _Windows:
    """Queries, keys and values of one row of windows, [windows, H, N, ...], written again for every row.

    Relative positions are folded into longer queries and keys, as in `folded_attention`. What pads the last windows
    keeps the bias of the projection as its key and value, and is never multiplied.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    scores: Tensor
    empty: Tensor
    """What the projection makes of nothing, [3, H, D]."""
    window: int
    width: int

    @classmethod
    def of(cls, attention: Attention, window: int, width: int, dtype: torch.dtype) -> _Windows:
        """For windows of `window` cells a side in a grid of `width` columns."""
        count, heads, cells = -(-width // window), attention.num_heads, window * window
        empty = cast(attention.qkv.bias, dtype).view(3, heads, -1)
        dim = empty.shape[-1]
        query = empty.new_zeros(count, heads, cells, dim + 2 * window)
        key, value = torch.empty_like(query), query.new_empty(count, heads, cells, dim)
        key[..., :dim] = empty[1].unsqueeze(1)
        key[..., dim:] = one_hot_cells(window, window, key)
        value[:] = empty[2].unsqueeze(1)
        scores = query.new_empty(count * heads, cells, cells)
        return cls(query=query, key=key, value=value, scores=scores, empty=empty, window=window, width=width)

    def write(self, projected_TC: Tensor) -> None:
        """Take the projected cells of one row of windows."""
        count, heads, _, dim = self.value.shape
        window, whole = self.window, self.width // self.window
        projected = projected_TC.view(-1, self.width, 3, heads, dim)
        rows, split = len(projected), whole * window
        for index, buffer in enumerate((self.query, self.key, self.value)):
            grid = buffer.view(count, heads, window, window, -1)[..., :dim]
            inner = projected[:, :split, index].view(rows, whole, window, heads, dim)
            grid[:whole, :, :rows] = inner.permute(1, 3, 0, 2, 4)
            grid[whole:, :, :rows, : self.width - split] = projected[:, split:, index].permute(2, 0, 1, 3)
            if index:
                grid[:, :, rows:] = self.empty[index].view(heads, 1, 1, dim)

    def attend(self, attention: Attention, rows: int) -> Tensor:
        """Attention of every window over itself: the first `rows` rows of cells as [T, C]."""
        count, heads, _, dim = self.value.shape
        window = self.window
        query = self.query[..., :dim]
        terms = position_terms(query, attention.rel_pos_h, attention.rel_pos_w, (window, window))
        self.query[..., dim:] = torch.cat(terms, dim=-1)
        query *= dim**-0.5
        torch.bmm(self.query.flatten(0, 1), self.key.flatten(0, 1).transpose(1, 2), out=self.scores)
        # Softmax reads a row before it writes it (tests/test_encoder.py).
        torch.softmax(self.scores, dim=-1, out=self.scores)
        attended = torch.bmm(self.scores, self.value.flatten(0, 1)).view(count, heads, window, window, dim)
        in_rows = attended[:, :, :rows].permute(2, 0, 3, 1, 4).reshape(rows, count * window, -1)
        return in_rows[:, : self.width].reshape(rows * self.width, -1)
