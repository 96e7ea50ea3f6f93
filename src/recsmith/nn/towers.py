"""A person as the bag of their items, against a vector and a bias per item: the factorisation that both players of a game can be."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsmith.nn.bags import BagLinear, unit_weights


class BagTower(nn.Module):
    """Packed sets of items → one logit per item of the catalogue, `[batch, item]`."""

    def __init__(self, items: int, dim: int) -> None:
        super().__init__()
        self.person = BagLinear(items, dim)
        self.item = nn.Linear(dim, items)
        nn.init.xavier_normal_(self.item.weight)
        nn.init.zeros_(self.item.bias)

    def forward(self, items: Tensor, offsets: Tensor, *, dropout: float = 0.0) -> Tensor:
        """`items` distinct in their rows; in training the share `dropout` of them is hidden."""
        weights = unit_weights(offsets, tokens=len(items), dtype=self.item.weight.dtype)
        weights = nn.functional.dropout(weights, dropout, self.training)
        return self.item(torch.tanh(self.person(items, offsets, weights)))
