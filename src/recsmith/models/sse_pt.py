"""SSE-PT: a transformer over the history that also knows who is asking, kept from overfitting by exchanged ids (Wu et al., 2020)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import NextStep
from recsmith.nn.packed import row_ids
from recsmith.nn.user_table import UserTable
from recsmith.protocols import HistoryBatch


class SsePtConfig(CausalEncoderConfig):
    """Size, regularisation and exchange rates of SSE-PT."""

    user_dim: int = Field(32, ge=1)
    """Width of the vector of a person; `dim + user_dim` must divide into the heads."""
    user_slots: int = Field(32_768, ge=1)
    """Vectors kept for people; those whose number in the log lies beyond have none, like people unseen in training."""
    exchange_users: float = Field(0.5, ge=0, le=1)
    """Share of training rows that get the vector of another person of the batch."""
    exchange_items: float = Field(0.05, ge=0, le=1)
    """Share of input events that get another item's vector, drawn uniformly."""
    hide_users: float = Field(0.2, ge=0, le=1)
    """Share of training rows without a person's vector, which is how people unseen in training are answered."""

    @model_validator(mode="after")
    def _heads_divide_both(self) -> SsePtConfig:
        if (self.dim + self.user_dim) % self.heads:
            raise ValueError(f"`dim` + `user_dim` = {self.dim + self.user_dim} must be a multiple of `heads` = {self.heads}")
        return self


class SsePt(NextStep):
    """Every event enters as (item vector, person's vector); the item half of the state after the last one scores the items.

    Paper: Wu, Li, Hsieh & Sharpnack, "SSE-PT: Sequential Recommendation via Personalized Transformer", RecSys 2020. Stochastic
    shared embeddings: in training, ids of people and of input items are exchanged at random.

    Deviations: full softmax in place of one negative with binary cross-entropy, and no exchange among the targets; the person's half
    of the score, equal for all items, is left out; vectors of people start at zero, and a share of training rows has none, so that
    strangers are answered from their history alone; a learned start stands for the empty history.
    """

    Config: ClassVar[type[Config]] = SsePtConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: SsePtConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.encoder = CausalEncoder(config, dim=config.dim + config.user_dim)
        self.users = UserTable(config.user_slots, config.user_dim)
        self.apply(partial(initialise_normal, std=config.init_std))

    def forward(self, items: Tensor, offsets: Tensor, people: Tensor) -> Tensor:
        """Item indices `[token]` of packed rows and the vectors of their people `[row, user_dim]` → states `[token, dim]`."""
        rows = row_ids(offsets, tokens=len(items))
        tokens = torch.cat([self.items(items), people[rows]], 1)
        return self.encoder(tokens, offsets)[:, : self.config.dim]

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the cross-entropy of the item that came next; 0 for a batch without events."""
        inputs = self._exchanged_items(batch.items)
        people = self.users(self._exchanged_users(batch.users), rows=len(batch))
        states, targets = self.next_states(lambda tokens, offsets: self(inputs[tokens], offsets, people), batch)
        return fused_cross_entropy(states, self.items.weight, batch.items[targets])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        return self.queries(batch) @ self.answer_vectors()[0].T

    def queries(self, batch: HistoryBatch) -> Tensor:
        """States whose inner products with `answer_vectors` are the scores, `[batch, dim]`."""
        people = self.users(batch.users, rows=len(batch))
        return self.final_states(lambda tokens, offsets: self(batch.items[tokens], offsets, people), batch)

    def answer_vectors(self) -> tuple[Tensor, None]:
        """Item vectors `[item, dim]`; there is no bias."""
        return self.items.weight, None

    def _exchanged_items(self, items: Tensor) -> Tensor:
        """The items with a share of them replaced by others, drawn uniformly; as they are outside training."""
        if not self.training:
            return items
        other = torch.randint(self.items.num_embeddings, items.shape, device=items.device)
        return torch.where(torch.rand(items.shape, device=items.device) < self.config.exchange_items, other, items)

    def _exchanged_users(self, users: Tensor | None) -> Tensor | None:
        """The people with a share of them replaced by others of the batch, and a share hidden; as they are outside training."""
        if users is None or not self.training:
            return users
        other = users[torch.randperm(len(users), device=users.device)]
        chance = torch.rand(2, len(users), device=users.device)
        users = torch.where(chance[0] < self.config.exchange_users, other, users)
        return torch.where(chance[1] < self.config.hide_users, -1, users)
