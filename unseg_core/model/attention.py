"""Attention with SAM's decomposed relative positions, without the N x N scores that SAM's own code keeps.

The bias of query (y, x) for key (v, u) is q . rel_h[y - v] + q . rel_w[x - u] (Li et al., MViTv2, 2022, section 4.1).

Axes in names: B windows or images, H heads, N = y * x cells, D channels of one head, K cells of one axis.
"""

from __future__ import annotations

import itertools

import torch
from segment_anything.modeling.image_encoder import get_rel_pos
from torch import Tensor
from torch.nn import functional as F

# Scores that exist at one time on a CPU: 512 queries of 4,096 keys, 8 MB in float32. A quarter of it takes a tenth
# longer for the whole network, eight times as much nearly so (benchmarks/generator.py).
CHUNK_VALUES = 2**21


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
    one_hot = one_hot_cells(rows, columns, key_BHND)
    query = torch.cat([query_BHND * dim**-0.5, by_row, by_column], dim=-1)
    key = torch.cat([key_BHND, one_hot.expand(*key_BHND.shape[:2], -1, -1)], dim=-1)
    # PyTorch's flash kernels want one width for query, key and value.
    value = F.pad(value_BHND, (0, rows + columns))
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)[..., :dim]


def one_hot_cells(rows: int, columns: int, like: Tensor) -> Tensor:
    """Row and column of each cell as [N, rows + columns], zeros and two ones."""
    cell = torch.arange(rows * columns, device=like.device)
    return torch.cat([F.one_hot(cell // columns, rows), F.one_hot(cell % columns, columns)], dim=1).to(like)


def chunked_attention(
    query_BHND: Tensor, key_BHND: Tensor, value_BHND: Tensor, by_row: Tensor, by_column: Tensor
) -> Tensor:
    """The same without gradients, for float32 on CPUs: scores exist for some queries at a time.

    Products at the machine's peak and softmax in place are faster than torch's flash kernel with a mask.
    """
    batch, heads, count, dim = query_BHND.shape
    rows, columns = by_row.shape[-1], by_column.shape[-1]
    out_BNHD = query_BHND.new_empty(batch, count, heads, dim)
    some = max(1, CHUNK_VALUES // count)
    scratch = query_BHND.new_empty(min(some, count) * count)
    for b, h in itertools.product(range(batch), range(heads)):
        query_1ND, key_1ND, value_1ND = (t[b, h].contiguous()[None] for t in (query_BHND, key_BHND, value_BHND))
        for n in range(0, count, some):
            chunk = slice(n, n + some)
            query, row, column = query_1ND[:, chunk], by_row[b, h, chunk], by_column[b, h, chunk]
            scores = scratch[: query.shape[1] * count].view(1, -1, count)
            torch.add(row.unsqueeze(2), column.unsqueeze(1), out=scores.view(-1, rows, columns))
            torch.baddbmm(scores, query, key_1ND.transpose(1, 2), alpha=dim**-0.5, out=scores)
            # Softmax reads a row before it writes it (tests/test_encoder.py).
            torch.softmax(scores, dim=-1, out=scores)
            torch.bmm(scores, value_1ND, out=out_BNHD[b, chunk, h][None])
    return out_BNHD.transpose(1, 2)
