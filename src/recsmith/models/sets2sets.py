"""Sets2Sets: from the sequence of a person's baskets to the next one, in part by repeating them (Hu & He, 2019)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.baskets import BasketConfig, BasketReader, PackedBaskets, training_baskets
from recsmith.nn.pooling import causal_attention_pool
from recsmith.protocols import HistoryBatch

_FLOOR = 1e-9


class Sets2SetsConfig(BasketConfig):
    """Sizes and regularisation of Sets2Sets."""

    hidden: int = Field(64, ge=1)
    """Width of the recurrent state."""
    repeats: bool = True
    """Whether what the person took before is blended in by how often; False leaves the network alone."""


class Sets2Sets(nn.Module):
    """A recurrent network over baskets, attention over its states, and a gate per item between what it generates and what is repeated.

    Paper: Hu & He, "Sets2Sets: Learning from Sequential Sets with Neural Networks", KDD 2019. A basket is the mean of its items' vectors.
    With p the network's distribution over the items, f the share of each item in the person's past baskets and g the learned gate of
    each item, an item of the past gets p (1 - g) + f g, any other p. The items of a basket are independent of each other given the
    past, so a slate takes the same logits at every slot.

    Deviations: cross-entropy of the next basket's items in place of the weighted squared error with its set margin (the catalogue's
    softmax already sets what is in the basket against what is not); one basket ahead, taught at every basket of a history at once; the
    decoder is a linear layer on the state and the attended states, where the paper decodes several baskets recurrently. Training holds
    `[basket, item]`.
    """

    Config: ClassVar[type[Config]] = Sets2SetsConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: Sets2SetsConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.reader = BasketReader(config, items=items, hidden=config.hidden)
        self.attend = nn.Linear(config.hidden, 1, bias=False)
        self.out = nn.Linear(2 * config.hidden, config.dim)
        self.bias = nn.Parameter(torch.zeros(items))
        self.start = nn.Parameter(torch.zeros(2 * config.hidden))
        self.gate = nn.Parameter(torch.zeros(items))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy of the items of each basket, given the baskets before it; 0 for a batch without events."""
        baskets = training_baskets(batch, self.config, items=len(self.bias))
        if not len(baskets):
            return self.bias.sum() * 0
        inputs = baskets.before(self._read(baskets), self.start)
        logs = self._log_shares(inputs, _earlier(baskets, items=len(self.bias)))
        return -logs[baskets.basket_of_token, baskets.items].mean()

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the logarithm of each item's share in the next basket."""
        baskets = self.reader.baskets(batch)
        inputs = baskets.after(self._read(baskets), self.start)
        counts = inputs.new_zeros(len(batch), len(self.bias))
        counts.index_put_((baskets.rows[baskets.basket_of_token], baskets.items), counts.new_ones(()), accumulate=True)
        return self._log_shares(inputs, counts)

    def open_slate(self, batch: HistoryBatch, size: int, generator: torch.Generator | None) -> Tensor:
        """The logits, `[batch, item]`."""
        return self.score(batch)

    def slot(self, state: Tensor, chosen: Tensor) -> Tensor:
        """`[batch, item]`: the same at every slot."""
        return state

    def _read(self, baskets: PackedBaskets) -> Tensor:
        """The state after each basket beside the attended mean of the states up to it, `[basket, 2 hidden]`."""
        if not len(baskets):
            return self.start.new_zeros(0, len(self.start))
        states = self.reader(baskets)
        return torch.cat([states, causal_attention_pool(states, self.attend(states)[:, 0], baskets.offsets)], 1)

    def _log_shares(self, inputs: Tensor, counts: Tensor) -> Tensor:
        """Log-share of each item, `[…, item]`, from states `[…, 2 hidden]` and how many past baskets hold each item `[…, item]`."""
        hidden = self.reader.dropout(torch.tanh(self.out(inputs)))
        generated = (hidden @ self.reader.items.weight.T + self.bias).float().softmax(-1)
        if not self.config.repeats:
            return generated.clamp(min=_FLOOR).log()
        frequencies = counts / counts.sum(-1, keepdim=True).clamp(min=1)
        gates = self.gate.sigmoid() * (counts > 0)
        blended = generated * (1 - gates) + frequencies * gates
        return blended.clamp(min=_FLOOR).log() - blended.sum(-1, keepdim=True).clamp(min=_FLOOR).log()


def _earlier(baskets: PackedBaskets, *, items: int) -> Tensor:
    """In how many baskets of its row before this one each item stands, float32 `[basket, item]`."""
    present = torch.zeros(len(baskets), items, device=baskets.items.device)
    present[baskets.basket_of_token, baskets.items] = 1.0
    total = present.cumsum(0) - present
    return total - total[baskets.offsets[baskets.rows]]
