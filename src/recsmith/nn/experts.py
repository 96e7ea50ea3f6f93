"""A sparse mixture of experts in place of a T5 block's feed-forward layer (Shazeer et al., 2017, "Outrageously large neural networks")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsmith.nn.dropout import Dropout, relu_dropout
from recsmith.nn.norm import RMSNorm
from recsmith.nn.t5 import Decoder, linear


class ExpertFeedForward(nn.Module):
    """Norm, then the `active` best of `experts` feed-forward networks by a learned gate, weighted by it; the residual is added.

    `[…, d]` → `[…, d]`. The gate's weights are those of its softmax over all experts, as they are; there is no loss for balance.
    """

    def __init__(self, dim: int, ff_dim: int, *, experts: int, active: int, dropout: float) -> None:
        super().__init__()
        self.active = active
        self.norm = RMSNorm(dim)
        self.gate = linear(dim, experts, std=dim**-0.5)
        self.widen = nn.ModuleList(linear(dim, ff_dim, std=dim**-0.5) for _ in range(experts))
        self.narrow = nn.ModuleList(linear(ff_dim, dim, std=ff_dim**-0.5) for _ in range(experts))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(0, -2)
        weights, chosen = self.gate(tokens).float().softmax(1).topk(self.active, 1)
        mixed = torch.zeros_like(tokens)
        for expert, (widen, narrow) in enumerate(zip(self.widen, self.narrow, strict=True)):
            row, place = (chosen == expert).nonzero(as_tuple=True)
            hidden = relu_dropout(widen(tokens[row]), self.dropout.p, training=self.training)
            mixed = mixed.index_add(0, row, (narrow(hidden) * weights[row, place, None]).to(mixed.dtype))
        return x + self.dropout(mixed).view(x.shape)


def use_experts(decoder: Decoder, dim: int, ff_dim: int, *, experts: int, active: int) -> None:
    """Give every layer of a decoder experts in place of its feed-forward layer."""
    for layer in decoder.layers:
        layer.feed_forward = ExpertFeedForward(dim, ff_dim, experts=experts, active=active, dropout=decoder.dropout.p)
