"""ONCE: a content-based recommender that also reads what a language model wrote about people and items (Liu et al., WSDM 2024)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.attention import TransformerBlock
from recsmith.nn.dropout import Dropout
from recsmith.nn.item_vectors import ItemVectors, KeptTable
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import random_prefixes
from recsmith.nn.packed import Plan, tail_index
from recsmith.nn.poly_attention import LateTable, PolyAttention, with_start
from recsmith.protocols import HistoryBatch


class OnceConfig(Config):
    """Size and regularisation of ONCE."""

    dim: int = Field(64, ge=1)
    """Width of items and people; a multiple of `heads`."""
    heads: int = Field(4, ge=1)
    """Heads of the attention between the events of a history."""
    hidden: int = Field(128, ge=1)
    """Width of the feed-forward layers."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of values dropped in items and attention."""
    unread: float = Field(0.3, ge=0, lt=1)
    """Share of training rows that do without the text about the person, so that people without one are answered too."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""


class Once(nn.Module):
    """Scores an item by the inner product of its text's vector, mapped, with the person's: their history by self-attention and attention
    pooling (NRMS) fused with the vector of what is written about them.

    Paper: "ONCE: boosting content-based recommendation with both open- and closed-source large language models". What is written comes
    from GENRE's prompts (`recsmith write genre`): clearer titles are part of the items' text, topics and regions the text about a person.

    Deviations from the paper: the open model encodes items once and is not tuned by LoRA inside the recommender (a tuned folder can be the
    encoder); the full softmax in the place of four sampled negatives; a learned start vector stands for the empty history.
    """

    Config: ClassVar[type[OnceConfig]] = OnceConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors", "people")
    inductive: ClassVar[bool] = True

    def __init__(self, config: OnceConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.texts = ItemVectors(vectors)
        self.people = LateTable(self.texts.dim)
        self.item = nn.Linear(self.texts.dim, config.dim)
        self.between = TransformerBlock(dim=config.dim, heads=config.heads, hidden=config.hidden, dropout=config.dropout, causal=False)
        self.pool = PolyAttention(config.dim)
        self.interest = nn.Linear(self.texts.dim, config.dim)
        self.fuse = nn.Sequential(nn.Linear(2 * config.dim, config.dim), nn.GELU(), nn.Linear(config.dim, config.dim))
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.dropout = Dropout(config.dropout)
        self._table = KeptTable(self, self._item_table)

    def read_people(self, vectors: np.ndarray) -> None:
        """Take in the vectors of what is written about each person."""
        self.people.set(vectors)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Cross-entropy of a random event of each row given the events before it and the text about the person; 0 without events."""
        table = self._item_table()
        targets, before, offsets = random_prefixes(batch.offsets, tokens=len(batch.items), longest=self.config.max_history)
        if not len(targets):
            return table.sum() * 0
        users = None if batch.users is None else batch.users[batch.offsets.diff() > 0]
        if users is not None:
            users = torch.where(torch.rand(len(users), device=users.device) < self.config.unread, -1, users)
        return fused_cross_entropy(self._person(table, batch.items[before], offsets, users), table, batch.items[targets])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        table = self._table()
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        return self._person(table, batch.items[kept], offsets, batch.users) @ table.T

    def _item_table(self) -> Tensor:
        return self.dropout(self.item(self.texts.values))

    def _person(self, table: Tensor, items: Tensor, offsets: Tensor, users: Tensor | None) -> Tensor:
        if len(offsets) == 1:
            return table.new_zeros(0, table.shape[1])
        states, offsets = with_start(table[items], offsets, self.start.to(table.dtype))
        read = self.pool(self.between(states, Plan.of(offsets)), offsets)[:, 0]
        told = self.people(users, len(read))
        both = self.fuse(torch.cat([read, self.interest(told)], 1))
        return read + both * told.any(1, keepdim=True)
