"""A generative flow network over lists: items are appended one by one, and the probability of a list is to be proportional to its reward.

Bengio et al., 2021, "Flow network based generative models for non-iterative diverse candidate generation" (NeurIPS); trajectory balance:
Malkin et al., 2022 (NeurIPS). There is one way to build an ordered list, so the backward probabilities are 1.

Letters of the shapes: `list` = lists built at once, `size` = their length, `item` = size of the catalogue.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Balance = Literal["trajectory", "detailed"]
"""Which equation the flow is to satisfy: along whole lists, or from each list to the next longer one."""


class Begin(NamedTuple):
    """What lists are begun from."""

    contexts: Tensor
    """float `[list, context]`."""
    prior: Tensor
    """What is known of each item beforehand, added to its logit at every place; `[list, item]`."""
    table: Tensor
    """Vectors of the items, `[item, dim]`."""

    def take(self, which: Tensor) -> Begin:
        """Some of the lists, by index."""
        return Begin(self.contexts[which], self.prior[which], self.table)


class ListFlow(nn.Module):
    """The forward policy P(next item | context, items so far) and the flow F through each unfinished list.

    As many lists as items ** (free places) come out of an unfinished one: the logarithm of that number is given, not learned.
    """

    def __init__(self, items: int, *, size: int, context: int, dim: int, hidden: int) -> None:
        """`size` is the length of whole lists, `context` the width of contexts, `dim` that of item vectors."""
        super().__init__()
        self.size = size
        self.begin = nn.Linear(context, hidden)
        self.cell = nn.GRUCell(dim, hidden)
        self.out = nn.Linear(hidden, dim)
        self.bias = nn.Parameter(torch.zeros(items))
        self.flow = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def total(self, begin: Begin) -> Tensor:
        """Logarithm of the flow through the empty list, which comes to be that of the total reward; `[list]`."""
        return self._log_flow(self._opened(begin), 0)[:, 0]

    def logits_after(self, begin: Begin, lists: Tensor) -> Tensor:
        """Of the item that follows `lists` `[list, filled]`, `[list, item]`; items of the list are not masked."""
        states = self._opened(begin)
        for items in lists.unbind(1):
            states = self.cell(begin.table[items], states)
        return self._logits(states, begin)

    @torch.no_grad()
    def draw(self, begin: Begin, *, explore: float = 0.0) -> Tensor:
        """Lists without repetition, int64 `[list, size]`; each item is uniform with probability `explore`, else from the policy."""
        states = self._opened(begin)
        lists = torch.zeros(len(states), 0, dtype=torch.int64, device=states.device)
        for _ in range(self.size):
            chances = self._logits(states, begin).softmax(1)
            uniform = torch.rand(len(states), 1, device=states.device) < explore
            weights = torch.where(uniform, torch.ones_like(chances), chances).clamp(min=1e-12).scatter(1, lists, 0.0)
            items = weights.multinomial(1)
            states = self.cell(begin.table[items[:, 0]], states)
            lists = torch.cat([lists, items], 1)
        return lists

    def imbalance(self, begin: Begin, lists: Tensor, log_rewards: Tensor, balance: Balance) -> Tensor:
        """Mean squared violation of the flow equations by `lists` `[list, size]` with rewards exp(`log_rewards`) `[list]`."""
        states = self._opened(begin)
        chosen, flows = [], []
        for place in range(lists.shape[1]):
            logs = self._logits(states, begin).scatter(1, lists[:, :place], -torch.inf).log_softmax(1)
            chosen.append(logs.gather(1, lists[:, place, None]))
            flows.append(self._log_flow(states, place))
            states = self.cell(begin.table[lists[:, place]], states)
        forward, flow = torch.cat(chosen, 1), torch.cat(flows, 1)
        if balance == "trajectory":
            return (flow[:, 0] + forward.sum(1) - log_rewards).square().mean()
        after = torch.cat([flow[:, 1:], log_rewards[:, None]], 1)
        return (flow + forward - after).square().sum(1).mean()

    def _opened(self, begin: Begin) -> Tensor:
        """The states of empty lists, `[list, hidden]`."""
        return torch.tanh(self.begin(begin.contexts))

    def _log_flow(self, states: Tensor, place: int) -> Tensor:
        """Logarithm of the flow through lists with `place` items, `[list, 1]`."""
        return self.flow(states) + (self.size - place) * math.log(len(self.bias))

    def _logits(self, states: Tensor, begin: Begin) -> Tensor:
        return self.out(states) @ begin.table.T + self.bias + begin.prior
