"""GFN4Rec: a flow network that draws lists with probability in proportion to their reward (Liu et al., 2023)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.click_model import ClickModel
from recsmith.nn.list_flow import Balance, Begin, ListFlow
from recsmith.nn.slates import SlateConfig, SlateReader
from recsmith.protocols import HistoryBatch


class Gfn4RecConfig(SlateConfig):
    """Sizes, reward and exploration of GFN4Rec."""

    balance: Balance = "detailed"
    """Flow equations of the loss: from each list to the next longer one, or along whole lists."""
    sharpness: float = Field(4.0, gt=0)
    """Power of the expected clicks in the reward; higher draws good lists more often and varies them less."""
    floor: float = Field(0.3, gt=0)
    """Clicks added to every list, so that no reward is 0."""
    lists: int = Field(256, ge=1)
    """Slates of a batch, at most, from whose histories lists are drawn and judged in a step."""
    explore: float = Field(0.1, ge=0, le=1)
    """Probability that an item of a drawn list is uniform instead of from the policy."""
    negatives: int = Field(10, ge=0)
    """Random items for each slate that teach the click model what is not clicked; 0 trusts the log's own unclicked items alone."""


class Gfn4Rec(nn.Module):
    """Appends items one by one; the flow through the empty list of a person is the total reward of all lists, and P(list) = reward / total.

    Paper: Liu, Cai, Sun, Wang, Jiang, Zheng, Gai, Jiang, Zhao & Zhang, "Generative Flow Network for Listwise Recommendation", KDD 2023.
    Reward: (floor + expected clicks) ** sharpness. The lists to learn from are the policy's own, with exploration, and those of the log.

    Deviations: the paper explores in a simulator; here a click model learned from the same log in the same steps
    (`recsmith.nn.click_model`) judges lists, and logged ones are judged by their own clicks. The state of that model is an input of the
    flow, and its log-probabilities, times a learned weight, are a part of the policy's logits, so that the search begins at what is
    liked. A recurrent cell reads the list so far in place of the paper's attention, and there is one kind of response. `score` is
    the first slot's. Memory of a step: 2 · lists · slate · items.
    """

    Config: ClassVar[type[Config]] = Gfn4RecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: Gfn4RecConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.size = min(config.slate, items)
        self.reader = SlateReader(config, items=items)
        self.flow = ListFlow(items, size=self.size, context=2 * config.dim, dim=config.dim, hidden=config.hidden)
        self.clicks = ClickModel(config, items=items, negatives=config.negatives)
        self.trust = nn.Parameter(torch.ones(()))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Violation of the flow equations by drawn and logged lists, plus the loss of the click model; 0 for a batch without events."""
        slates = self.reader.slates(batch, shifted=self.training)
        if not len(slates):
            return self.flow.bias.sum() * 0
        learned = self.clicks.loss(slates, batch)
        slates = slates.take(torch.randperm(len(slates), device=slates.items.device)[: self.config.lists])
        people = self.clicks.reader.before(slates, batch).detach()
        begin = self._begin(self.reader.before(slates, batch), people)
        drawn = self.flow.draw(begin, explore=self.config.explore)
        with torch.no_grad():
            rewards = self.log_reward(people, drawn)
        whole = slates.whole(self.size).nonzero()[:, 0]
        imbalance = self.flow.imbalance(begin, drawn, rewards, self.config.balance)
        if len(whole):
            logged = self._log_reward_of(slates.clicks[whole].sum(1))
            imbalance = imbalance + self.flow.imbalance(begin.take(whole), slates.items[whole, : self.size], logged, self.config.balance)
        return learned + imbalance

    def log_reward(self, states: Tensor, lists: Tensor) -> Tensor:
        """Logarithm of the reward of `lists` `[list, size]` for people in `states` of the click model; `[list]`."""
        return self._log_reward_of(self.clicks.expected_clicks(states, lists))

    def open_slate(self, batch: HistoryBatch, size: int, generator: torch.Generator | None) -> Begin:
        """What the lists of each row are begun from."""
        return self._begin(self.reader.after(batch), self.clicks.states(batch))

    def slot(self, state: Begin, chosen: Tensor) -> Tensor:
        """Logits of the next slot, `[batch, item]`."""
        return self.flow.logits_after(state, chosen)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the logits of the first slot, that is of the total reward of the lists that begin with an item."""
        return self.slot(self.open_slate(batch, 1, None), batch.items.new_zeros(len(batch), 0))

    def _begin(self, contexts: Tensor, people: Tensor) -> Begin:
        """From the policy's and the click model's states: an item that is likely to be clicked is likely to be chosen."""
        prior = functional.logsigmoid(self.clicks.all_logits(people)).detach()
        return Begin(torch.cat([contexts, people.detach()], 1), self.trust * prior, self.reader.items.weight)

    def _log_reward_of(self, clicks: Tensor) -> Tensor:
        return self.config.sharpness * (self.config.floor + clicks).log()
