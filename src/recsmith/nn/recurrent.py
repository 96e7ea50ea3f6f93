"""A gated recurrent network on packed rows (Cho et al., 2014)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recsmith.nn.packed import TimeMajor


class PackedGru(nn.Module):
    """`[token, dim]` of packed rows → states `[token, hidden]`, without padding."""

    def __init__(self, dim: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        self.gru = nn.GRU(dim, hidden, layers)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        """There must be at least one token."""
        order = TimeMajor.of(offsets)
        return self.gru(PackedSequence(tokens[order.index], order.batch_sizes))[0].data[order.back]
