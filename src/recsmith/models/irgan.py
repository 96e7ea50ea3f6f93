"""IRGAN: a generator picks items for a person, a discriminator tells them from the person's own (Wang et al., 2017, arXiv:1705.10513)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.adversarial import is_generators_turn, policy_gradient, tell_apart
from recsmith.nn.bags import dense_rows, distinct, multinomial_loss
from recsmith.nn.towers import BagTower
from recsmith.protocols import HistoryBatch


class IrganConfig(Config):
    """Sizes and rules of the game of IRGAN."""

    dim: int = Field(default=64, ge=1)
    """Width of the vectors of people and items, in generator and discriminator alike."""
    samples: int = Field(default=32, ge=1)
    """Items that the generator picks for a person at every step."""
    own_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of the generator's picks that come from the person's own items instead, with a weight that corrects for it (the paper's λ)."""
    likelihood_steps: int = Field(default=300, ge=0)
    """Optimiser steps before the game in which the generator learns by likelihood alone (the paper starts both from trained weights)."""
    likelihood_weight: float = Field(default=0.1, ge=0)
    """Weight of that likelihood in the generator's loss during the game; 0 leaves it to the discriminator alone, as in the paper."""
    generator_steps: int = Field(default=1, ge=1)
    """Steps of the generator in a round of the game."""
    discriminator_steps: int = Field(default=1, ge=1)
    """Steps of the discriminator in a round of the game."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the generator's logits where it picks what the discriminator is to learn from; lower picks harder items."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of a person's items hidden from both players in training."""


class Irgan(nn.Module):
    """Generator: a distribution over the catalogue given the person. Discriminator: the chance that an item is the person's own.

    Paper: Wang, Yu, Zhang, Gong, Xu, Wang, Zhang & Zhang, "IRGAN: A Minimax Game for Unifying Generative and Discriminative Information
    Retrieval Models", SIGIR 2017, in its form for item recommendation. The discriminator learns by binary cross-entropy from the person's
    items against the generator's picks; the generator by policy gradient, with log(1 + exp(discriminator)) as the reward of a pick. The
    steps of the optimiser alternate. The answer is the generator's logits.

    Deviations: a person is the bag of their items rather than a row of a table, so that people unseen in training get answers; the
    generator is warmed up by likelihood inside the same training and keeps a part of it (`likelihood_weight`), which holds it up against
    collapse; rewards are in standard deviations of the batch; one optimiser. Rows are dense inside a batch: `[batch, item]`.
    """

    Config: ClassVar[type[IrganConfig]] = IrganConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: IrganConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = items
        self.generator = BagTower(items, config.dim)
        self.discriminator = BagTower(items, config.dim)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """The loss of whichever player has its turn at this step, mean over picks; the likelihood is a mean over rows."""
        items, offsets = distinct(batch.items, batch.offsets, size=self.items)
        filled = offsets.diff() > 0
        if not filled.any():
            return self.generator.item.bias.sum() * 0
        offsets = torch.cat([offsets[:1], offsets[1:][filled]])
        config, game_step = self.config, step - self.config.likelihood_steps
        if game_step < 0:
            return self._likelihood(self._generate(items, offsets), items, offsets)
        rules = {"generator_steps": config.generator_steps, "discriminator_steps": config.discriminator_steps}
        own = dense_rows(items, offsets, torch.ones_like(items, dtype=self.generator.item.weight.dtype), size=self.items)
        if is_generators_turn(game_step, **rules):
            return self._generator_loss(items, offsets, own)
        return self._discriminator_loss(items, offsets, own)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the generator's logits given the whole history."""
        return self.generator(*distinct(batch.items, batch.offsets, size=self.items))

    def _generator_loss(self, items: Tensor, offsets: Tensor, own: Tensor) -> Tensor:
        logits = self._generate(items, offsets)
        with torch.no_grad():
            policy = logits.softmax(1)
            # picks from a mixture with the person's own items, weighed back to the policy
            mixture = (1 - self.config.own_share) * policy + self.config.own_share * own / own.sum(1, keepdim=True)
            picked = torch.multinomial(mixture, self.config.samples, replacement=True)
            weights = (policy / mixture).gather(1, picked)
            rewards = functional.softplus(self._judge(items, offsets).gather(1, picked))
        likely = logits.log_softmax(1).gather(1, picked)
        game = policy_gradient(weights * likely, rewards)
        if not self.config.likelihood_weight:
            return game
        return game + self.config.likelihood_weight * self._likelihood(logits, items, offsets)

    def _discriminator_loss(self, items: Tensor, offsets: Tensor, own: Tensor) -> Tensor:
        with torch.no_grad():
            logits = self._generate(items, offsets) / self.config.temperature
            picked = torch.multinomial(logits.softmax(1), self.config.samples, replacement=True)
            real = torch.multinomial(own, self.config.samples, replacement=True)
        return tell_apart(self._judge(items, offsets), real, picked)

    def _generate(self, items: Tensor, offsets: Tensor) -> Tensor:
        return self.generator(items, offsets, dropout=self.config.dropout)

    def _judge(self, items: Tensor, offsets: Tensor) -> Tensor:
        return self.discriminator(items, offsets, dropout=self.config.dropout)

    def _likelihood(self, logits: Tensor, items: Tensor, offsets: Tensor) -> Tensor:
        return multinomial_loss(logits, items, offsets) / len(logits)
