"""CFGAN: a generator writes whole rows of preferences, a discriminator tells them from real ones (Chae et al., 2018)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.adversarial import is_generators_turn
from recsmith.nn.bags import BagLinear, distinct
from recsmith.nn.packed import row_ids
from recsmith.protocols import HistoryBatch


class CfganConfig(Config):
    """Sizes and balance of CFGAN."""

    hidden: int = Field(default=256, ge=1)
    """Width of the hidden layers of generator and discriminator."""
    negatives: float = Field(default=0.1, gt=0, le=1)
    """Share of the items outside a row that are drawn for it at every step: the generator is to give them 0 (ZP of the paper)."""
    zero_weight: float = Field(default=0.1, ge=0)
    """Weight of the squared outputs on the drawn items in the generator's loss (ZR of the paper)."""
    restore_weight: float = Field(default=1.0, ge=0)
    """Weight of the squared difference from 1 on the row's own items; 0 leaves them to the discriminator alone, as in the paper."""
    generator_steps: int = Field(default=1, ge=1)
    """Steps of the generator for each step of the discriminator."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of a row's items hidden from the generator in training."""


class Cfgan(nn.Module):
    """Generator: 0/1 row → preferences in (0, 1) for all items. Discriminator: (row or preferences, condition) → real or written.

    Paper: Chae, Kang, Kim & Lee, "CFGAN: A Generic Collaborative Filtering Framework based on Generative Adversarial Networks", CIKM
    2018, in its user-based form with both ways of using negatives (ZP). Written preferences are masked to the row's own and drawn
    items before the discriminator sees them. The steps of an optimiser alternate: `generator_steps` for the generator, one for the
    discriminator. The answer is the generator's output before its sigmoid.

    Deviations: the row's own items are also restored directly (`restore_weight`), which steadies training; part of them is hidden
    from the generator; both nets have one hidden layer and share one optimiser. Rows are dense inside a batch: `[batch, item]`.
    """

    Config: ClassVar[type[CfganConfig]] = CfganConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: CfganConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = items
        self.first = BagLinear(items, config.hidden)
        self.out = nn.Linear(config.hidden, items)
        self.condition = BagLinear(items, config.hidden)
        self.judged = nn.Linear(items, config.hidden, bias=False)
        self.verdict = nn.Linear(config.hidden, 1)
        nn.init.xavier_normal_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        nn.init.xavier_normal_(self.judged.weight)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """The loss of whichever net has its turn at this step, mean over rows."""
        items, offsets = distinct(batch.items, batch.offsets, size=self.items)
        real = torch.zeros(len(batch), self.items, dtype=self.out.weight.dtype, device=items.device)
        real[row_ids(offsets, tokens=len(items)), items] = 1
        drawn = (torch.rand_like(real) < self.config.negatives) * (1 - real)
        if is_generators_turn(step, generator_steps=self.config.generator_steps):
            return self._generator_loss(items, offsets, real, drawn)
        return self._discriminator_loss(items, offsets, real, drawn)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the generator's outputs before the sigmoid."""
        return self._write(*distinct(batch.items, batch.offsets, size=self.items))

    def judge(self, preferences: Tensor, items: Tensor, offsets: Tensor) -> Tensor:
        """Logit that `preferences` `[batch, item]` are a real row of the person who has `items` (packed, distinct); `[batch]`."""
        return self.verdict((self.judged(preferences) + self.condition(items, offsets)).relu()).squeeze(1)

    def _generator_loss(self, items: Tensor, offsets: Tensor, real: Tensor, drawn: Tensor) -> Tensor:
        written = self._write(items, offsets).sigmoid()
        judged = self._frozen(written * (real + drawn), items, offsets)
        fooled = functional.softplus(-judged)
        zeros = self.config.zero_weight * (written * drawn).square().sum(1)
        restored = self.config.restore_weight * ((1 - written) * real).square().sum(1)
        return (fooled + zeros + restored).sum() / max(len(real), 1)

    def _discriminator_loss(self, items: Tensor, offsets: Tensor, real: Tensor, drawn: Tensor) -> Tensor:
        with torch.no_grad():
            written = self._write(items, offsets).sigmoid() * (real + drawn)
        losses = functional.softplus(-self.judge(real, items, offsets)) + functional.softplus(self.judge(written, items, offsets))
        return losses.sum() / max(len(real), 1)

    def _frozen(self, preferences: Tensor, items: Tensor, offsets: Tensor) -> Tensor:
        """The discriminator's opinion, with gradients for the preferences but not for the discriminator."""
        with torch.no_grad():
            condition = self.condition(items, offsets)
        hidden = functional.linear(preferences, self.judged.weight.detach()) + condition
        return functional.linear(hidden.relu(), self.verdict.weight.detach(), self.verdict.bias.detach()).squeeze(1)

    def _write(self, items: Tensor, offsets: Tensor) -> Tensor:
        weights = functional.dropout(torch.ones_like(items, dtype=self.out.weight.dtype), self.config.dropout, self.training)
        return self.out(torch.tanh(self.first(items, offsets, weights)))
