"""Packed rows read as sets: each row's distinct values, a linear layer on them, and the likelihood of a row under logits.

Letters of the shapes: `token` = values of all rows, `batch` = rows, `item` = size of the catalogue.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsmith.nn.packed import offsets_from, row_ids


def distinct(values: Tensor, offsets: Tensor, *, size: int) -> tuple[Tensor, Tensor]:
    """The rows without repetition and in ascending order, packed again as `(values, offsets)`; values lie in 0 … size - 1."""
    keys = torch.unique(row_ids(offsets, tokens=len(values)) * size + values)
    return keys % size, offsets_from(torch.bincount(keys // size, minlength=len(offsets) - 1))


def unit_weights(offsets: Tensor, *, tokens: int, dtype: torch.dtype) -> Tensor:
    """The weight that each value needs for its row, as a 0/1 vector, to have length 1; `[token]`."""
    return offsets.diff().clamp(min=1).to(dtype).rsqrt()[row_ids(offsets, tokens=tokens)]


def dense_rows(values: Tensor, offsets: Tensor, counts: Tensor, *, size: int) -> Tensor:
    """Packed rows written out, `[batch, size]`: what a value counts (`counts` `[token]`, at least 0; the most where it repeats), or 0."""
    rows = len(offsets) - 1
    places = row_ids(offsets, tokens=len(values)) * size + values
    return counts.new_zeros(rows * size).scatter_reduce(0, places, counts, "amax").view(rows, size)


class BagLinear(nn.Module):
    """`x @ W + b` for the 0/1 row x of each packed set, by summing rows of `W`: x is never formed."""

    def __init__(self, items: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(items, width, mode="sum", include_last_offset=True)
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.xavier_normal_(self.embedding.weight)

    def forward(self, items: Tensor, offsets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Distinct items, packed, and the value that stands in x for each (None: 1), → `[batch, width]`."""
        return self.embedding(items, offsets, weights) + self.bias


def multinomial_loss(logits: Tensor, items: Tensor, offsets: Tensor) -> Tensor:
    """Negative log-likelihood of packed items under a softmax of `logits` `[batch, item]`, summed over all items of all rows."""
    chosen = logits[row_ids(offsets, tokens=len(items)), items]
    return (logits.logsumexp(1) * offsets.diff()).sum() - chosen.sum()
