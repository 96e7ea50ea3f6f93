"""Sequential transduction unit: pointwise SiLU attention with learned bias by distance and time, gated (Zhai et al., 2024).

Letters of the shapes: `token` = events of all rows laid end to end, `rows` and `length` = a dense block of the plan.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsmith.nn.dropout import Dropout
from recsmith.nn.packed import Plan, row_ids

_LOG_WIDTH = 0.301  # the paper's: neighbouring buckets of time differ by a factor of e^0.301 = 1.35


def gap_buckets(times: Tensor, *, buckets: int) -> Tensor:
    """Bucket of the time between every two events of a row: seconds float64 `[rows, length]` → int64 `[rows, length, length]`.

    Buckets 0 … `buckets − 1` grow geometrically from under 1.35 seconds, the last one is open; number `buckets` stands for
    an unknown time (NaN). Rows of the result are the events that look, columns those that are looked at.
    """
    gaps = (times[:, :, None] - times[:, None, :]).abs().float()
    numbers = (gaps.clamp(min=1.0).log() / _LOG_WIDTH).clamp(max=buckets - 1)
    return numbers.nan_to_num(nan=buckets).long()


def known_times(times: Tensor | None, *, like: Tensor) -> Tensor:
    """Seconds float64 `[token]`, NaN where they are unknown: everywhere without times, else where they are not finite."""
    if times is None:
        return torch.full(like.shape, torch.nan, dtype=torch.float64, device=like.device)
    return times.masked_fill(~times.isfinite(), torch.nan)


def random_rows(share: float, offsets: Tensor, *, tokens: int) -> Tensor:
    """Where tokens belong to one of the rows drawn at the rate `share`, bool `[token]`."""
    drawn = torch.rand(len(offsets) - 1, device=offsets.device) < share
    return drawn[row_ids(offsets, tokens=tokens)]


class RelativeBias(nn.Module):
    """Attention bias by how many events, and how much time, lie between two events."""

    def __init__(self, *, longest: int, buckets: int) -> None:
        super().__init__()
        self.by_distance = nn.Parameter(torch.empty(longest).normal_(std=0.02))
        self.by_gap = nn.Parameter(torch.empty(buckets + 1).normal_(std=0.02))

    def forward(self, gaps: Tensor) -> Tensor:
        """`gap_buckets` `[rows, length, length]` → bias of the same shape; only what looks back is meaningful."""
        places = torch.arange(gaps.shape[1], device=gaps.device)
        distances = (places[:, None] - places).clamp(min=0)
        # as an embedding of width 1: its gradient is summed several times as fast as that of indexing
        return F.embedding(gaps, self.by_gap[:, None]).squeeze(3) + self.by_distance[distances]


class TransductionUnit(nn.Module):
    """One layer: norm, projection to gate, value, query and key, attention, norm, gate, projection, residual path.

    A weight is SiLU(query · key + bias) / `longest`, without softmax, so that a sum over many similar events may be larger than
    one over few. Holds `[rows, heads, length, length]` of each block. `[token, dim]` → `[token, dim]`.
    """

    def __init__(self, *, dim: int, heads: int, longest: int, buckets: int, dropout: float = 0.0, attention_dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} does not divide into {heads} heads")
        self.heads = heads
        self.longest = longest
        self.norm = nn.LayerNorm(dim)
        self.mixed_norm = nn.LayerNorm(dim)
        self.project_in = nn.Linear(dim, 4 * dim)
        self.project_out = nn.Linear(dim, dim)
        self.bias = RelativeBias(longest=longest, buckets=buckets)
        self.dropout = Dropout(dropout)
        self.attention_dropout = Dropout(attention_dropout)

    def forward(self, tokens: Tensor, plan: Plan, gaps: list[Tensor]) -> Tensor:
        """`gaps`: `gap_buckets` of each block of the plan."""
        gate, rest = F.silu(self.project_in(self.norm(tokens))).split([tokens.shape[1], 3 * tokens.shape[1]], dim=1)
        mixed = plan.unpad([self._attend(block, gap) for block, gap in zip(plan.pad(rest), gaps, strict=True)])
        return tokens + self.project_out(self.dropout(gate * self.mixed_norm(mixed)))

    def _attend(self, block: Tensor, gaps: Tensor) -> Tensor:
        rows, length, width = block.shape
        value, query, key = block.view(rows, length, 3, self.heads, width // (3 * self.heads)).permute(2, 0, 3, 1, 4)
        weights = F.silu(query @ key.transpose(2, 3) + self.bias(gaps)[:, None])
        # padding stands to the right of every true token of its row, so looking back never meets it
        weights = self.attention_dropout(weights.tril() / self.longest)
        return (weights.to(value.dtype) @ value).transpose(1, 2).reshape(rows, length, width // 3)
