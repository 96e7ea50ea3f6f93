"""Weighted means over packed rows: of the whole row, or of each event's past.

Letters of the shapes: `token` = events of all rows, `row` = rows of the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recsmith.nn.packed import row_ids


def causal_attention_pool(values: Tensor, logits: Tensor, offsets: Tensor) -> Tensor:
    """For each event the mean of its row's `values` up to itself, weighted by the softmax of `logits` over them.

    `values` `[token, dim]`, `logits` `[token]` → `[token, dim]`. Linear in the events; running sums are kept in float64.
    """
    rows = row_ids(offsets, tokens=len(values))
    top = torch.full([len(offsets) - 1], -torch.inf, dtype=logits.dtype, device=logits.device)
    top = top.scatter_reduce(0, rows, logits.detach(), "amax")
    weights = (logits - top[rows]).double().clamp(min=-50).exp()[:, None]
    total = _running_sum(weights, offsets, rows)
    return (_running_sum(weights * values, offsets, rows) / total).to(values.dtype)


def row_mean(values: Tensor, offsets: Tensor) -> Tensor:
    """Mean of the `values` `[token, dim]` of each row, `[row, dim]`; zeros for empty rows."""
    rows = row_ids(offsets, tokens=len(values))
    sums = values.new_zeros(len(offsets) - 1, values.shape[1]).index_add(0, rows, values)
    return sums / offsets.diff().clamp(min=1)[:, None]


def _running_sum(values: Tensor, offsets: Tensor, rows: Tensor) -> Tensor:
    """Sum of the row's `values` `[token, …]` up to and with each event."""
    total = values.cumsum(0)
    before = torch.cat([total.new_zeros(1, *total.shape[1:]), total])[offsets[:-1]]
    return total - before[rows]
