"""How much each event of a packed row counts in the row's vector: alike, by age, or by likeness to a query. Nothing here is learned.

Letters of the shapes: `token` = events of all rows, `row` = rows of the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recsmith.nn.packed import reversed_positions, row_ids


def recency_weights(offsets: Tensor, *, tokens: int, fade: float) -> Tensor:
    """Weights that fall by the factor `fade` with each step back from the end and add up to 1 in each row; float32 `[token]`.

    fade = 1 is the mean, fade = 0 the last event alone.
    """
    weights = torch.as_tensor(fade, dtype=torch.float32, device=offsets.device) ** reversed_positions(offsets, tokens=tokens).float()
    return _shares(weights, offsets)


def attention_weights(vectors: Tensor, queries: Tensor, offsets: Tensor, *, temperature: float) -> Tensor:
    """Softmax, over the events of each row, of the inner product of `vectors` `[token, dim]` with the row's query `[row, dim]`, divided by
    `temperature`; `[token]`."""
    rows = row_ids(offsets, tokens=len(vectors))
    logits = (vectors * queries[rows]).sum(1) / temperature
    top = torch.full([len(queries)], -torch.inf, dtype=logits.dtype, device=logits.device).scatter_reduce(0, rows, logits, "amax")
    return _shares((logits - top[rows]).exp(), offsets)


def weighted_sum(vectors: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """`vectors` `[token, dim]` times `weights` `[token]`, summed over each row, `[row, dim]`; zeros for empty rows."""
    rows = row_ids(offsets, tokens=len(vectors))
    return vectors.new_zeros(len(offsets) - 1, vectors.shape[1]).index_add(0, rows, vectors * weights[:, None].to(vectors.dtype))


def _shares(weights: Tensor, offsets: Tensor) -> Tensor:
    rows = row_ids(offsets, tokens=len(weights))
    total = weights.new_zeros(len(offsets) - 1).index_add(0, rows, weights)
    return weights / total[rows]
