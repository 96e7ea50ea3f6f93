"""CDAE: a denoising autoencoder of people's item sets with a vector per person (Wu et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.bags import BagLinear, distinct
from recsmith.nn.packed import row_ids
from recsmith.nn.user_table import UserTable
from recsmith.protocols import HistoryBatch

Activation = Literal["sigmoid", "tanh", "identity"]

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "identity": lambda x: x}


class CdaeConfig(Config):
    """Size, corruption and loss of CDAE."""

    dim: int = Field(default=50, ge=1)
    """Width of the hidden layer, and of the vector of a person."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of a history's items hidden in training; the others count 1 / (1 - share)."""
    activation: Activation = "sigmoid"
    """What the hidden layer applies to its sums."""
    loss: Literal["logistic", "square"] = "logistic"
    """Loss of a predicted item: cross-entropy of a sigmoid, or squared difference from 0 or 1."""
    negatives: int = Field(default=5, ge=1)
    """Items outside the history that are drawn against each item in it, afresh at every step."""
    user_slots: int = Field(default=32_768, ge=0)
    """Vectors kept for people; those whose number in the log lies beyond have none, like people unseen in training. 0 = for nobody."""


class Cdae(nn.Module):
    """Restores the set of a person's items from a part of it and a vector that belongs to the person.

    Paper: Wu, DuBois, Zheng & Ester, "Collaborative Denoising Auto-Encoders for Top-N Recommender Systems", WSDM 2016. Hidden layer:
    f(sum of the item vectors + vector of the person + b). The answer is the output before its sigmoid; order and repetition inside a
    history do not matter. A person unseen in training has no vector and is answered from the history alone.

    Deviations: vectors of people start at zero, so that someone who is met first after training, or whose number lies beyond
    `user_slots`, is treated as one without a vector rather than one with a random vector. The loss is the mean over the chosen items
    (the paper sums), drawn negatives that stand in the history are left out instead of drawn again, weight decay is the optimiser's,
    and Adam replaces AdaGrad. Only the chosen outputs are computed in training, `[chosen, dim]`; `[batch, item]` only to answer.
    """

    Config: ClassVar[type[CdaeConfig]] = CdaeConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: CdaeConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = items
        self.first = BagLinear(items, config.dim)
        self.users = UserTable(config.user_slots, config.dim)
        self.out = nn.Linear(config.dim, items)
        nn.init.xavier_normal_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Loss on the history's items and on drawn others, mean over all of them (0 when there are none)."""
        items, offsets = distinct(batch.items, batch.offsets, size=self.items)
        rows = row_ids(offsets, tokens=len(items))
        drawn, drawn_rows = self._draw(items, rows)
        hidden = self._hidden(items, offsets, batch.users)
        chosen, chosen_rows = torch.cat([items, drawn]), torch.cat([rows, drawn_rows])
        outputs = (hidden[chosen_rows] * self.out.weight[chosen]).sum(1) + self.out.bias[chosen]
        wanted = torch.zeros_like(outputs)
        wanted[: len(items)] = 1
        if self.config.loss == "logistic":
            total = functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="sum")
        else:
            total = (outputs - wanted).square().sum()
        return total / max(len(chosen), 1)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: outputs for the whole history and, where the person is known, their vector."""
        items, offsets = distinct(batch.items, batch.offsets, size=self.items)
        return self.out(self._hidden(items, offsets, batch.users))

    def _hidden(self, items: Tensor, offsets: Tensor, users: Tensor | None) -> Tensor:
        weights = functional.dropout(torch.ones_like(items, dtype=self.out.weight.dtype), self.config.dropout, self.training)
        sums = self.first(items, offsets, weights) + self.users(users, rows=len(offsets) - 1)
        return _ACTIVATIONS[self.config.activation](sums)

    def _draw(self, items: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Uniform negatives and their rows; `items` are distinct and ascending in each row."""
        rows_drawn = rows.repeat_interleave(self.config.negatives)
        drawn = torch.randint(self.items, rows_drawn.shape, device=items.device)
        present, asked = rows * self.items + items, rows_drawn * self.items + drawn
        outside = ~torch.isin(asked, present)
        return drawn[outside], rows_drawn[outside]
