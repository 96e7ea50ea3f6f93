"""A vector for each person met in training, and zeros for everybody else."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UserTable(nn.Module):
    """User indices → vectors; those beyond the `slots`, unknown ones (-1) and batches without users get zeros, from which all start."""

    def __init__(self, slots: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(slots, dim))

    def forward(self, users: Tensor | None, *, rows: int) -> Tensor:
        """`users` int64 `[row]` or None → `[row, dim]`."""
        if users is None or not len(self.weight):
            return self.weight.new_zeros(rows, self.weight.shape[1])
        known = (users >= 0) & (users < len(self.weight))
        return self.weight[torch.where(known, users, 0)] * known[:, None]
