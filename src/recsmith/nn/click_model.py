"""What people would click, learned from a log: the environment in which slate models that learn from rewards try out slates.

Letters of the shapes: `slate` = slates of a batch, `size` = slots of a slate, `state` = people in some state.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recsmith.nn.slates import SlateConfig, SlateReader, Slates
from recsmith.protocols import HistoryBatch


class ClickModel(nn.Module):
    """P(click | what was clicked before, item) = σ(state · item vector + bias): its own state, shared with no policy, so that no policy
    can bend it.

    Items that were shown and not clicked are the negatives of a log of pages; where a log holds clicks only, items drawn at random are.
    """

    def __init__(self, config: SlateConfig, *, items: int, negatives: int) -> None:
        super().__init__()
        self.negatives = negatives
        self.reader = SlateReader(config, items=items)
        self.bias = nn.Parameter(torch.zeros(items))

    def loss(self, slates: Slates, batch: HistoryBatch) -> Tensor:
        """Mean binary cross-entropy over the filled slots, and over `negatives` random items for each; both weigh the same."""
        states = self.reader.before(slates, batch)
        shown = functional.binary_cross_entropy_with_logits(
            self.logits(states, slates.items.clamp(min=0))[slates.filled], slates.clicks[slates.filled]
        )
        if not self.negatives:
            return shown
        drawn = torch.randint(len(self.bias), (len(slates), self.negatives), device=self.bias.device)
        fresh = (drawn[:, :, None] != slates.items[:, None]).all(2)
        against = functional.softplus(self.logits(states, drawn)) * fresh
        return shown + against.sum() / fresh.sum().clamp(min=1)

    def states(self, histories: HistoryBatch) -> Tensor:
        """The state after each row, `[state, dim]`."""
        return self.reader.after(histories)

    def logits(self, states: Tensor, items: Tensor) -> Tensor:
        """Log-odds of a click on each of `items` `[state, size]`; the same shape."""
        return torch.einsum("sd,skd->sk", states, self.reader.items(items)) + self.bias[items]

    def all_logits(self, states: Tensor) -> Tensor:
        """Log-odds of a click on every item, `[state, item]`."""
        return states @ self.reader.items.weight.T + self.bias

    def expected_clicks(self, states: Tensor, items: Tensor) -> Tensor:
        """Of a whole slate `[state, size]` of valid items; `[state]`."""
        return self.logits(states, items).sigmoid().sum(1)
