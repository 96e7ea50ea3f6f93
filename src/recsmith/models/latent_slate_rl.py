"""GeMS: the latent space of a slate-VAE is the action space of a reinforcement-learning agent (Deffayet et al., 2023)."""

from __future__ import annotations

from copy import deepcopy
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.click_model import ClickModel
from recsmith.nn.frozen import follow, frozen
from recsmith.nn.latent import draw, gaussian_divergence, sample
from recsmith.nn.slate_vae import GaussianHead, SlotDecoder, slate_vectors, slot_loss
from recsmith.nn.slates import SlateConfig, SlateReader, Slates, with_clicks
from recsmith.protocols import HistoryBatch


class LatentSlateRlConfig(SlateConfig):
    """Sizes and phases of the slate-VAE and its agent."""

    latent: int = Field(16, ge=1)
    """Width of the latent vector of a slate: the agent's action."""
    pretraining_steps: int = Field(1_000, ge=1)
    """Optimiser steps for VAE and click model; after them both stay as they are and the agent learns."""
    kl_weight: float = Field(0.3, ge=0)
    """Weight of the VAE's divergence from the standard normal."""
    click_weight: float = Field(0.5, ge=0)
    """Weight of the clicks against the items in what the VAE reconstructs."""
    discount: float = Field(0.8, ge=0, lt=1)
    """What the clicks of the next slate count for the agent, against those of this one."""
    caution: float = Field(0.02, ge=0)
    """Clicks that the agent pays per nat by which its actions leave the standard normal, where the decoder knows what to do."""
    target_rate: float = Field(0.01, gt=0, le=1)
    """Share by which the target critics follow the critics at a step."""
    states: int = Field(256, ge=1)
    """Slates of a batch, at most, from whose histories the agent acts in a step."""
    negatives: int = Field(10, ge=0)
    """Random items for each slate that teach the click model what is not clicked; 0 trusts the log's own unclicked items alone."""


class _Critic(nn.Module):
    """Expected discounted clicks of an action in a state: the smaller of two networks' opinions."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1)) for _ in range(2))

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """`[state, 2]`."""
        inputs = torch.cat([states, actions], 1)
        return torch.cat([net(inputs) for net in self.nets], 1)


class LatentSlateRl(nn.Module):
    """First a VAE learns slates and clicks, z → items and clicks of all slots; then a soft actor-critic learns which z to choose for whom.

    Paper: Deffayet, Thonet, Renders & de Rijke, "Generative Slate Recommendation with Reinforcement Learning", WSDM 2023 (GeMS). The
    agent's state is a recurrent belief over past clicks; its reward is the number of clicks on the decoded slate; the decoder is frozen.

    Deviations: the paper's simulator is replaced by a click model learned from the log (`recsmith.nn.click_model`), whose state is also
    an input of the agent; besides its own actions the critic learns from the logged slates with their clicks and what came
    after; the entropy bonus is a penalty for leaving the VAE's prior. `score` is the expected number of slots with the item, in logarithm.
    """

    Config: ClassVar[type[Config]] = LatentSlateRlConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: LatentSlateRlConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.size = min(config.slate, items)
        self.items = nn.Embedding(items, config.dim)
        self.bias = nn.Parameter(torch.zeros(items))
        self.posterior = GaussianHead(config.slate * (config.dim + 1), config.hidden, config.latent)
        self.decoder = SlotDecoder(config.latent, config.hidden, size=config.slate, dim=config.dim)
        self.click_head = nn.Linear(config.latent, config.slate)
        self.clicks = ClickModel(config, items=items, negatives=config.negatives)
        self.reader = SlateReader(config, items=items)
        self.actor = GaussianHead(2 * config.dim, config.hidden, config.latent)
        self.critic = _Critic(2 * config.dim + config.latent, config.hidden)
        self.target = deepcopy(self.critic).requires_grad_(False)
        nn.init.normal_(self.items.weight, std=config.init_std)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Of VAE and click model in the first steps, of the agent in the others; 0 for a batch without events."""
        slates = self.reader.slates(batch, shifted=self.training)
        if not len(slates):
            return self.bias.sum() * 0
        if step < self.config.pretraining_steps:
            return self.slate_loss(slates) + self.clicks.loss(slates, batch)
        slates = slates.take(torch.randperm(len(slates), device=slates.items.device)[: self.config.states])
        return self.agent_loss(slates, self.reader.clicked_before(slates, batch))

    def slate_loss(self, slates: Slates) -> Tensor:
        """Negative evidence lower bound of items and clicks, mean over slates."""
        mean, log_variance = self._encode(slates)
        latent = sample(mean, log_variance, noisy=self.training)
        items = slot_loss(self.decoder(latent), slates, slates.filled, self.items.weight, self.bias)
        clicks = functional.binary_cross_entropy_with_logits(self.click_head(latent), slates.clicks, reduction="none")
        clicks = (clicks * slates.filled).sum() / len(slates)
        return items + self.config.click_weight * clicks + self.config.kl_weight * gaussian_divergence(mean, log_variance).mean()

    def agent_loss(self, slates: Slates, histories: HistoryBatch) -> Tensor:
        """Squared error of the critics plus the actor's loss. `histories` are the clicks before each of the slates."""
        follow(self.target, self.critic, self.config.target_rate)
        states = self._state(histories)
        mean, log_variance = self.actor(states.detach())
        action = sample(mean, log_variance, noisy=True)
        with torch.no_grad():
            own = self.decode(action)
            own_clicks = self.clicks.logits(self.clicks.states(histories), own).sigmoid()
            clicked = torch.cat([torch.bernoulli(own_clicks), slates.clicks])
            shown = torch.cat([own, slates.items])
            after = self._state(with_clicks(_twice(histories), shown, clicked > 0))
            rewards = torch.cat([own_clicks.sum(1), slates.clicks.sum(1)])
            aim = rewards + self.config.discount * self._value(after)
            actions = torch.cat([action, self._encode(slates)[0]])
        error = (self.critic(torch.cat([states, states]), actions) - aim[:, None]).square().sum(1).mean()
        value = frozen(self.critic, states.detach(), action).amin(1)
        return error + (self.config.caution * gaussian_divergence(mean, log_variance) - value).mean()

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """The most probable slates without repetition, int64 `[state, size]`."""
        outputs = self.decoder(latent)
        chosen = torch.zeros(len(latent), 0, dtype=torch.int64, device=latent.device)
        for place in range(self.size):
            logits = (outputs[:, place] @ self.items.weight.T + self.bias).scatter(1, chosen, -torch.inf)
            chosen = torch.cat([chosen, logits.argmax(1, keepdim=True)], 1)
        return functional.pad(chosen, (0, self.config.slate - self.size))

    def open_slate(self, batch: HistoryBatch, size: int, generator: torch.Generator | None) -> Tensor:
        """The output vectors of all slots, `[batch, slot, dim]`, for the agent's action."""
        return self.decoder(draw(*self.actor(self._state(batch)), generator=generator))

    def slot(self, state: Tensor, chosen: Tensor) -> Tensor:
        """Logits of the next slot, `[batch, item]`."""
        return state[:, min(chosen.shape[1], self.config.slate - 1)] @ self.items.weight.T + self.bias

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: logarithm of the expected number of slots that hold the item, under the agent's mean action."""
        outputs = self.open_slate(batch, self.config.slate, None)
        total = torch.full((len(batch), len(self.bias)), -torch.inf, device=outputs.device)
        for place in range(self.config.slate):
            total = torch.logaddexp(total, (outputs[:, place] @ self.items.weight.T + self.bias).log_softmax(1))
        return total

    def _encode(self, slates: Slates) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(torch.cat([slate_vectors(self.items, slates), slates.clicks], 1))
        return mean, log_variance

    def _state(self, histories: HistoryBatch) -> Tensor:
        """What the agent knows of each row, `[row, 2 · dim]`: its own belief and that of the click model."""
        return torch.cat([self.reader.after(histories), self.clicks.states(histories).detach()], 1)

    def _value(self, states: Tensor) -> Tensor:
        """Of a state, when the actor goes on from it; `[state]`."""
        mean, log_variance = self.actor(states)
        best = self.target(states, sample(mean, log_variance, noisy=True)).amin(1)
        return best - self.config.caution * gaussian_divergence(mean, log_variance)


def _twice(histories: HistoryBatch) -> HistoryBatch:
    """All rows, and all rows again."""
    return HistoryBatch(histories.items.repeat(2), torch.cat([histories.offsets, histories.offsets[1:] + len(histories.items)]))
