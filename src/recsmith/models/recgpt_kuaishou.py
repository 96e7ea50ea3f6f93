"""RecGPT: an item-level GPT that knows who asks, tuned to go on from what it generated itself (Zhang et al., KuaiShou, 2024)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import Encode, final_states, next_states, random_prefixes
from recsmith.nn.packed import inserted, offsets_from, row_ids, tail_index
from recsmith.nn.user_table import UserTable
from recsmith.protocols import HistoryBatch


class RecgptKuaishouConfig(CausalEncoderConfig):
    """Size, regularisation and stages of RecGPT."""

    user_slots: int = Field(32_768, ge=0)
    """Vectors kept for people; those whose number in the log lies beyond have none, like people unseen in training."""
    hide_users: float = Field(0.2, ge=0, le=1)
    """Share of training rows without a person's vector, which is how people unseen in training are answered."""
    prompts: int = Field(2, ge=1)
    """Items that the model generates behind a history and then reads as a prompt."""
    pretrain_steps: int = Field(500, ge=0)
    """Optimiser steps of pre-training, before prompt-tuning begins."""
    recall: float = Field(0.5, ge=0, le=1)
    """Share of the second recall, which has read the generated items, in the answer; the rest is the first recall's."""


class RecgptKuaishou(nn.Module):
    """A causal transformer over items plus a person's vector; it recalls twice, the second time behind items of its own.

    Paper: Zhang et al., "RecGPT: generative personalized prompts for sequential recommendation via ChatGPT training paradigm" (2024).
    Pre-training predicts each next item, with a user module; prompt-tuning lets the model generate what may come next, sets it behind the
    history under a segment of its own, and predicts the target from there. Answering does the same and mixes both recalls.

    Deviations: one prompt behind the history in place of one behind every event; prompt-tuning keeps the loss of pre-training beside its
    own; probabilities of both recalls are mixed, where the paper joins two lists; a share of training rows has no person, and a learned
    start stands for the empty history.
    """

    Config: ClassVar[type[Config]] = RecgptKuaishouConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: RecgptKuaishouConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.segments = nn.Embedding(2, config.dim)
        self.users = UserTable(config.user_slots, config.dim)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.encoder = CausalEncoder(config.override(max_history=config.max_history + config.prompts))
        self.apply(partial(initialise_normal, std=config.init_std))

    def forward(self, items: Tensor, offsets: Tensor, people: Tensor, segments: Tensor) -> Tensor:
        """Items of packed rows `[token]`, vectors of people `[row, dim]` and segments `[token]` (0 told, 1 generated) → `[token, dim]`."""
        person = people[row_ids(offsets, tokens=len(items))]
        return self.encoder(self.items(items) + person + self.segments(segments), offsets)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy of every next item; after pre-training, plus that of a target behind what the model generated."""
        batch = batch.known()
        people = self._people(batch)
        states, targets = next_states(
            self._reading(batch.items, people), batch.offsets, tokens=len(batch.items), longest=self.config.max_history, start=self.start
        )
        loss = fused_cross_entropy(states, self.items.weight, batch.items[targets])
        if step < self.config.pretrain_steps or not len(batch.items):
            return loss
        wanted, kept, offsets = random_prefixes(batch.offsets, tokens=len(batch.items), longest=self.config.max_history)
        people = people[batch.offsets.diff() > 0]
        items = batch.items[kept]
        generated = self.generate(items, offsets, people)
        return loss + fused_cross_entropy(self._behind(items, offsets, people, generated), self.items.weight, batch.items[wanted])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Logarithms of the mixed probabilities, `[batch, item]`."""
        batch = batch.known()
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        items, people = batch.items[kept], self._people(batch)
        first = self._logits(self._final(items, offsets, people))
        if not len(batch):
            return first
        second = self._logits(self._behind(items, offsets, people, self.generate(items, offsets, people)))
        share = self.config.recall
        return ((1 - share) * first.softmax(1) + share * second.softmax(1)).clamp(min=1e-30).log()

    @torch.no_grad()
    def generate(self, items: Tensor, offsets: Tensor, people: Tensor) -> Tensor:
        """The likeliest items behind each row, one after the other, none twice: int64 `[row, prompts]`."""
        chosen = items.new_zeros(len(people), 0)
        for _ in range(self.config.prompts):
            states = self._behind(items, offsets, people, chosen) if chosen.shape[1] else self._final(items, offsets, people)
            logits = self._logits(states).scatter(1, chosen, -torch.inf)
            chosen = torch.cat([chosen, logits.argmax(dim=1, keepdim=True)], dim=1)
        return chosen

    def _behind(self, items: Tensor, offsets: Tensor, people: Tensor, generated: Tensor) -> Tensor:
        """The state behind a history and the items generated behind it, `[row, dim]`."""
        count = generated.shape[1]
        longer = offsets_from(offsets.diff() + count)
        places = longer[1:, None] - count + torch.arange(count, device=items.device)
        both = inserted(items, generated.flatten(), places.flatten())
        segments = inserted(torch.zeros_like(items), torch.ones_like(generated).flatten(), places.flatten())
        return self(both, longer, people, segments)[longer[1:] - 1]

    def _final(self, items: Tensor, offsets: Tensor, people: Tensor) -> Tensor:
        longest = self.config.max_history
        return final_states(self._reading(items, people), offsets, tokens=len(items), longest=longest, start=self.start)

    def _reading(self, items: Tensor, people: Tensor) -> Encode:
        return lambda kept, offsets: self(items[kept], offsets, people, torch.zeros_like(kept))

    def _logits(self, states: Tensor) -> Tensor:
        return states @ self.items.weight.T

    def _people(self, batch: HistoryBatch) -> Tensor:
        users = batch.users
        if users is not None and self.training:
            users = torch.where(torch.rand(len(users), device=users.device) < self.config.hide_users, -1, users)
        return self.users(users, rows=len(batch))
