"""Packed rows → a few vectors per row, each by a learned question of its own (Humeau et al., 2020: poly-encoders), and tables given late.

Letters of the shapes: `token` = events of all rows, `row` = rows of the batch, `code` = questions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recsmith.nn.packed import inserted, row_ids


class PolyAttention(nn.Module):
    """Each of `codes` learned questions takes a mean of the row's states, weighted by the softmax of how they answer it."""

    def __init__(self, dim: int, codes: int = 1) -> None:
        super().__init__()
        self.look = nn.Linear(dim, dim)
        self.codes = nn.Parameter(torch.empty(codes, dim).normal_(std=dim**-0.5))

    def forward(self, states: Tensor, offsets: Tensor) -> Tensor:
        """States `[token, dim]` of rows none of which is empty → `[row, code, dim]`."""
        logits = torch.tanh(self.look(states)) @ self.codes.T
        rows, count = row_ids(offsets, tokens=len(states)), len(offsets) - 1
        top = logits.new_full([count, logits.shape[1]], -torch.inf)
        top = top.scatter_reduce(0, rows[:, None].expand_as(logits), logits.detach(), "amax")
        weights = (logits - top[rows]).exp()
        total = weights.new_zeros(top.shape).index_add(0, rows, weights)
        shares = weights / total[rows]
        sums = states.new_zeros(count, shares.shape[1], states.shape[1])
        return sums.index_add(0, rows, shares[:, :, None].to(states.dtype) * states[:, None])


def with_start(vectors: Tensor, offsets: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The packed vectors `[token, dim]` with `start` `[dim]` before each row, so that no row is empty; and the new offsets."""
    shift = torch.arange(len(offsets), device=offsets.device)
    return inserted(vectors, start.expand(len(offsets) - 1, -1), (offsets + shift)[:-1]), offsets + shift


class LateTable(nn.Module):
    """Vectors that are given after the module is made, such as one per person; saved with the weights and as long as the file says."""

    values: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(0, dim))

    def set(self, vectors: np.ndarray) -> None:
        """Take in float32 `[user, dim]`; replaces what was there."""
        self.values = torch.as_tensor(vectors, dtype=torch.float32).to(self.values.device)

    def forward(self, users: Tensor | None, rows: int) -> Tensor:
        """Indices int64 `[row]`, such as of users → `[row, dim]`; zeros for -1, None and what lies beyond the table."""
        if users is None or not len(self.values):
            return self.values.new_zeros(rows, self.values.shape[1])
        known = (users >= 0) & (users < len(self.values))
        return torch.where(known[:, None], self.values[torch.where(known, users, 0)], 0.0)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """How long the table is is known only to the file: take its size before its values."""
        stored = state_dict.get(f"{prefix}values")
        if stored is not None:
            self.values = self.values.new_zeros(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
