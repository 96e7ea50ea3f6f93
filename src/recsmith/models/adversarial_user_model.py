"""A user model whose behaviour and reward are learned against each other, and whole pages by cascading Q-networks (Chen et al., 2019)."""

from __future__ import annotations

from copy import deepcopy
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.frozen import follow
from recsmith.nn.slates import SlateConfig, SlateReader, Slates, with_clicks
from recsmith.protocols import HistoryBatch


class AdversarialUserModelConfig(SlateConfig):
    """Sizes and phases of user model and page policy."""

    sharpness: float = Field(1.0, gt=0)
    """How strictly the user chooses what has the highest reward (η of the paper): P(choice) comes to be softmax(sharpness · reward)."""
    shrinkage: float = Field(0.01, ge=0)
    """Weight of the squared rewards in the loss of the reward network."""
    negatives: int = Field(10, ge=0)
    """Random items that are taken as shown beside each slate of the log; 0 trusts the log's own unclicked items alone."""
    pretraining_steps: int = Field(1_000, ge=1)
    """Optimiser steps for the user model; after them it stays as it is and the page policy learns from it."""
    discount: float = Field(0.8, ge=0, lt=1)
    """What the reward of the next page counts for the policy, against that of this one."""
    explore: float = Field(0.2, ge=0, le=1)
    """Probability that an item of a page in training is random instead of the best."""
    temperature: float = Field(0.1, gt=0)
    """Reward by which an item must be better to be e times as probable where pages are drawn."""
    target_rate: float = Field(0.01, gt=0, le=1)
    """Share by which the target networks follow the Q-networks at a step."""
    pages: int = Field(128, ge=1)
    """Slates of a batch, at most, from whose histories pages are made in a step."""


class _Taste(nn.Module):
    """A number for each item in each state: ⟨projected state, item vector⟩ + bias."""

    def __init__(self, config: SlateConfig, items: int) -> None:
        super().__init__()
        self.project = nn.Linear(config.dim, config.dim)
        self.items = nn.Embedding(items, config.dim)
        self.bias = nn.Parameter(torch.zeros(items))
        nn.init.normal_(self.items.weight, std=config.init_std)

    def forward(self, states: Tensor, items: Tensor) -> Tensor:
        """Of `items` `[state, n]`; the same shape."""
        return torch.einsum("sd,snd->sn", self.project(states), self.items(items)) + self.bias[items]

    def of_all(self, states: Tensor) -> Tensor:
        """Of the whole catalogue, `[state, item]`."""
        return self.project(states) @ self.items.weight.T + self.bias


class _Cascade(nn.Module):
    """Q of each slot: the value of the best page that begins with the items so far and goes on with an item."""

    def __init__(self, config: SlateConfig, items: int) -> None:
        super().__init__()
        self.size = config.slate
        self.items = nn.Embedding(items, config.dim)
        self.bias = nn.Parameter(torch.zeros(items))
        self.net = nn.Sequential(
            nn.Linear(2 * config.dim + config.slate, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.dim + 1)
        )
        nn.init.normal_(self.items.weight, std=config.init_std)

    def forward(self, states: Tensor, rewards: Tensor, chosen: Tensor) -> Tensor:
        """Values `[state, item]` at the slot after `chosen` `[state, filled]`; the user's `rewards` `[state, item]` are a part of them."""
        slot = functional.one_hot(torch.full_like(states[:, 0], min(chosen.shape[1], self.size - 1), dtype=torch.int64), self.size)
        query = self.net(torch.cat([states, self.items(chosen).sum(1), slot.to(states.dtype)], 1))
        return query[:, :-1] @ self.items.weight.T + self.bias + query[:, -1:] + rewards


class _Open(NamedTuple):
    """Pages being filled."""

    states: Tensor
    """`[batch, dim]`."""
    rewards: Tensor
    """The user's reward of each item, `[batch, item]`."""


class AdversarialUserModel(nn.Module):
    """First a user model: the behaviour φ picks an item of the page, or nothing, so as to collect reward, and the reward r is moved until
    what people really picked collects more than what φ picks. Then pages: Q¹, Q², … of a cascade, one per slot, against that user.

    Paper: Chen, Li, Li, Jiang, Qi & Song, "Generative Adversarial User Model for Reinforcement Learning Based Recommendation System", ICML
    2019. min over r, max over φ of E_φ[r] + entropy(φ) / η - r(what was picked), with nothing worth 0; its saddle point is
    φ = softmax(η r). All Q of a page aim at its reward plus the discounted value of the best next page.

    Deviations: both players move at every step, the state being learned with the reward, and the logits of φ are η r plus what its own
    network adds, so that it does not lag behind (the paper starts φ there); logs that hold clicks only are filled up with
    random items as shown; φ's expected reward stands for a sampled one, and a click is drawn for the next state only; the reward is a
    part of each Q, so that the cascade starts from a ranking by reward. `score` is Q¹.
    """

    Config: ClassVar[type[Config]] = AdversarialUserModelConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: AdversarialUserModelConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.size = min(config.slate, items)
        self.count = items
        self.reader = SlateReader(config, items=items)
        self.reward = _Taste(config, items)
        self.behaviour = _Taste(config, items)
        self.cascade = _Cascade(config, items)
        self.target = deepcopy(self.cascade).requires_grad_(False)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Of the user model in the first steps, of the page policy in the others; 0 for a batch without events."""
        slates = self.reader.slates(batch, shifted=self.training)
        if not len(slates):
            return self.cascade.bias.sum() * 0
        if step < self.config.pretraining_steps:
            return self.user_loss(slates, self.reader.before(slates, batch))
        slates = slates.take(torch.randperm(len(slates), device=slates.items.device)[: self.config.pages])
        return self.page_loss(slates, self.reader.clicked_before(slates, batch))

    def user_loss(self, slates: Slates, states: Tensor) -> Tensor:
        """Both players' losses: each has gradients for its own network only. `states` `[slate, dim]` before the slates."""
        drawn = torch.randint(self.count, (len(slates), self.config.negatives), device=states.device)
        fresh = (drawn[:, :, None] != slates.items[:, None]).all(2)
        shown, there = torch.cat([slates.items.clamp(min=0), drawn], 1), torch.cat([slates.filled, fresh], 1)
        picks = self.picks(states.detach(), shown, there)
        rewards = self.reward(states, shown) * there
        clicks = functional.pad(slates.clicks, (0, drawn.shape[1]))
        real = (rewards * clicks).sum(1) / clicks.sum(1).clamp(min=1)
        reward_loss = (picks.detach()[:, :-1] * rewards).sum(1) - real + self.config.shrinkage * rewards.square().sum(1)
        entropy = -(picks * picks.clamp(min=1e-9).log()).sum(1)
        behaviour_loss = -(picks[:, :-1] * rewards.detach()).sum(1) - entropy / self.config.sharpness
        return (reward_loss + behaviour_loss).mean()

    def picks(self, states: Tensor, shown: Tensor, there: Tensor | None = None) -> Tensor:
        """φ: probability of each shown item `[state, n]`, where it is `there`, and of nothing in the last column; `[state, n + 1]`."""
        logits = self.behaviour(states, shown) + self.config.sharpness * self.reward(states, shown).detach()
        if there is not None:
            logits = logits.masked_fill(~there, -torch.inf)
        return functional.pad(logits, (0, 1)).softmax(1)

    def page_loss(self, slates: Slates, histories: HistoryBatch) -> Tensor:
        """Squared errors of all Q of explored and of logged pages. `histories` are the clicks before each of the slates."""
        follow(self.target, self.cascade, self.config.target_rate)
        with torch.no_grad():
            here = self._open(histories)
            own = self._page(self.cascade, here, explore=self.config.explore)[0]
            whole = slates.whole(self.size)
            pages = torch.where(whole[:, None] & (torch.rand(len(slates), 1, device=own.device) < 0.5), slates.items[:, : self.size], own)
            picks = self.picks(here.states, pages)
            reward = (picks[:, :-1] * here.rewards.gather(1, pages)).sum(1)
            picked = functional.one_hot(picks.multinomial(1)[:, 0], self.size + 1)[:, :-1].bool()
            after = self._open(with_clicks(histories, pages, picked))
            aim = reward + self.config.discount * self._page(self.target, after)[1]
        errors = [
            (self.cascade(*here, pages[:, :place]).gather(1, pages[:, place, None])[:, 0] - aim).square() for place in range(self.size)
        ]
        return torch.stack(errors).sum(0).mean()

    def open_slate(self, batch: HistoryBatch, size: int, generator: torch.Generator | None) -> _Open:
        """States and rewards."""
        return self._open(batch)

    def slot(self, state: _Open, chosen: Tensor) -> Tensor:
        """Q of the next slot over the temperature, `[batch, item]`."""
        return self.cascade(*state, chosen) / self.config.temperature

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: Q of the first slot."""
        return self.cascade(*self._open(batch), batch.items.new_zeros(len(batch), 0))

    def _open(self, histories: HistoryBatch) -> _Open:
        states = self.reader.after(histories)
        return _Open(states, self.reward.of_all(states))

    @torch.no_grad()
    def _page(self, cascade: nn.Module, here: _Open, *, explore: float = 0.0) -> tuple[Tensor, Tensor]:
        """The page that the cascade fills greedily, int64 `[state, size]`, and its value, `[state]`."""
        page = torch.zeros(len(here.states), 0, dtype=torch.int64, device=here.states.device)
        best = here.states.new_zeros(len(here.states))
        for _ in range(self.size):
            values = cascade(*here, page).scatter(1, page, -torch.inf)
            best, item = values.max(1)
            other = torch.rand_like(values).scatter(1, page, -1.0).argmax(1) if explore else item
            item = torch.where(torch.rand_like(best) < explore, other, item)
            page = torch.cat([page, item[:, None]], 1)
        return page, best
