"""A ladder beside a deep network: small blocks that climb along the states of its layers, and a tower on top (Fu et al., 2023: Uni-CTR).

Letters of the shapes: `token` = states of all rows laid end to end, `row` = rows, `dim` = width of the deep network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recsmith.nn.attention import TransformerBlock
from recsmith.nn.packed import Plan
from recsmith.nn.poly_attention import PolyAttention


@dataclass(frozen=True)
class LadderSize:
    """How large a ladder and its tower are."""

    dim: int
    """Width of the deep network."""
    rungs: int
    """Layers of the deep network that are read."""
    heads: int
    hidden: int
    """Width of the feed-forward layers, and of the tower."""
    dropout: float


class Tower(nn.Sequential):
    """One hidden layer and one number: `[row, dim]` → `[row, 1]`."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1))


class Ladder(nn.Module):
    """u_l = block_l(h_l + u_{l-1}) from the lowest layer up; u of the top and the deep network's own last state, mixed by a learned
    attention of the two, go through a tower."""

    def __init__(self, size: LadderSize) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(size.dim) for _ in range(size.rungs))
        self.blocks = nn.ModuleList(
            TransformerBlock(dim=size.dim, heads=size.heads, hidden=size.hidden, dropout=size.dropout, causal=False)
            for _ in range(size.rungs)
        )
        self.pool = PolyAttention(size.dim)
        self.compare = nn.Sequential(nn.Linear(size.dim, size.hidden), nn.ReLU(), nn.Linear(size.hidden, 1, bias=False))
        self.tower = Tower(size.dim, size.hidden, size.dropout)

    def forward(self, layers: Sequence[Tensor], offsets: Tensor, last: Tensor) -> Tensor:
        """States of each layer `[token, dim]`, packed by `offsets`, and the deep network's last ones `[row, dim]` → `[row]`."""
        plan, climbing = Plan.of(offsets), torch.zeros_like(layers[0])
        for states, norm, block in zip(layers, self.norms, self.blocks, strict=True):
            climbing = block(norm(states) + climbing, plan)
        both = torch.stack([self.pool(climbing, offsets)[:, 0], last], dim=1)
        mixed = (self.compare(both).softmax(dim=1) * both).sum(dim=1)
        return self.tower(mixed)[:, 0]
