"""Items as sets of codes, one per level: vectors out of codes, and scores of all items out of scores of codes.

Letters of the shapes: `item` = rows of the table of codes, `level` = codes per item, `code` = codes of all levels laid end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CodeSets(nn.Module):
    """A vector for every code of every level; an item is the mean of its codes' vectors."""

    numbers: Tensor
    """Number of each code of each item among all codes, int64 `[item, level]`."""

    def __init__(self, table: Tensor, sizes: Sequence[int], dim: int) -> None:
        """`table` int64 `[item, level]` with codes below `sizes` of their level."""
        super().__init__()
        self.borders = [0, *accumulate(sizes)]
        self.register_buffer("numbers", table + torch.tensor(self.borders[:-1]))
        self.vectors = nn.Embedding(self.borders[-1], dim)

    def forward(self, items: Tensor) -> Tensor:
        """Rows of the table int64 `[token]` → `[token, dim]`."""
        return F.embedding_bag(self.numbers[items], self.vectors.weight, mode="mean")

    def codes(self, items: Tensor) -> Tensor:
        """Codes within their level, int64 `[token, level]`."""
        return self.numbers[items] - torch.tensor(self.borders[:-1], device=items.device)

    def by_level(self) -> list[Tensor]:
        """The vectors of each level, `[size, dim]` each."""
        return [self.vectors.weight[first:end] for first, end in pairwise(self.borders)]

    def item_scores(self, code_scores: Tensor) -> Tensor:
        """Scores of codes `[row, code]` → their sum over the codes of each item, `[row, item]`.

        Reads one line of `row` numbers per code of each item, so some dozens of rows at a time are cheapest.
        """
        return F.embedding_bag(self.numbers, code_scores.T.contiguous(), mode="sum").T
