"""Attention with SAM's decomposed relative positions, without the N x N scores that SAM's own code keeps.

The bias of query (y, x) for key (v, u) is q . rel_h[y - v] + q . rel_w[x - u] (Li et al., MViTv2, 2022, section 4.1).

Axes in names: B windows or images, H heads, N = y * x cells, D channels of one head, K cells of one axis.
"""

from __future__ import annotations

import torch
from segment_anything.modeling.image_encoder import get_rel_pos
from torch import Tensor
from torch.nn import functional as F

# Values of bias that exist at one time on a CPU. 1,024 queries a call of the kernel are as fast as all 4,096;
CHUNK_VALUES = 2**22


def position_terms(
    query_BHND: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, side: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The two parts of the bias for a grid of `side` (rows, columns): [B, H, N, rows] and [B, H, N, columns]."""
    batch, heads, count, dim = query_BHND.shape
    rows, columns = side
    grid = query_BHND.reshape(batch, heads, rows, columns, dim)
    by_row = torch.einsum("bnyxd,ykd->bnyxk", grid, get_rel_pos(rows, rows, rel_pos_h).to(grid))
    by_column = torch.einsum("bnyxd,xkd->bnyxk", grid, get_rel_pos(columns, columns, rel_pos_w).to(grid))
    return by_row.reshape(batch, heads, count, rows), by_column.reshape(batch, heads, count, columns)


def folded_attention(
    query_BHND: Tensor, key_BHND: Tensor, value_BHND: Tensor, by_row: Tensor, by_column: Tensor
) -> Tensor:
    """Attention whose bias is folded into longer queries and keys; differentiable, any device: [B, H, N, D].

    q' = [q * scale, by_row, by_column] and k' = [k, one-hot row, one-hot column] give q' . k' = q . k * scale + bias.
    """
    dim, rows, columns = query_BHND.shape[-1], by_row.shape[-1], by_column.shape[-1]
    one_hot = _one_hot_cells(rows, columns, key_BHND)
    query = torch.cat([query_BHND * dim**-0.5, by_row, by_column], dim=-1)
    key = torch.cat([key_BHND, one_hot.expand(*key_BHND.shape[:2], -1, -1)], dim=-1)
    # PyTorch's flash kernels want one width for query, key and value.
    value = F.pad(value_BHND, (0, rows + columns))
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)[..., :dim]


def _one_hot_cells(rows: int, columns: int, like: Tensor) -> Tensor:
    """Row and column of each cell as [N, rows + columns], zeros and two ones."""
    cell = torch.arange(rows * columns, device=like.device)
    return torch.cat([F.one_hot(cell // columns, rows), F.one_hot(cell % columns, columns)], dim=1).to(like)


def chunked_attention(
    query_BHND: Tensor, key_BHND: Tensor, value_BHND: Tensor, by_row: Tensor, by_column: Tensor
) -> Tensor:
    """The same without gradients, for CPUs: the bias is written a chunk at a time and stays in the cache."""
    batch, heads, count, _ = query_BHND.shape
    rows, columns = by_row.shape[-1], by_column.shape[-1]
    some_batch, some_heads, some_queries = _chunk(heads, count, columns)
    out = torch.empty_like(query_BHND.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
    scratch = query_BHND.new_empty(min(batch, some_batch) * some_heads * some_queries * count)
    for b in range(0, batch, some_batch):
        for h in range(0, heads, some_heads):
            group = (slice(b, b + some_batch), slice(h, h + some_heads))
            for n in range(0, count, some_queries):
                part = (*group, slice(n, n + some_queries))
                query, row, column = query_BHND[part], by_row[part], by_column[part]
                bias = scratch[: query.shape[:3].numel() * count].view(*query.shape[:3], count)
                torch.add(row.unsqueeze(4), column.unsqueeze(3), out=bias.view(*bias.shape[:3], rows, columns))
                out[part] = F.scaled_dot_product_attention(query, key_BHND[group], value_BHND[group], attn_mask=bias)
    return out


def _chunk(heads: int, count: int, columns: int) -> tuple[int, int, int]:
    """How many windows, heads and queries make a chunk."""
    if heads * count * count <= CHUNK_VALUES:
        return CHUNK_VALUES // (heads * count * count), heads, count
    if count * count <= CHUNK_VALUES:
        return 1, CHUNK_VALUES // (count * count), count
    return 1, 1, max(columns, CHUNK_VALUES // count // columns * columns)
