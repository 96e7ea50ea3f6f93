"""EmbSum: several vectors of a person's interests that also have to tell the summary of them (Zhang et al., RecSys 2024)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
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


class EmbsumConfig(Config):
    """Size, number of vectors and weight of the summaries in EmbSum."""

    dim: int = Field(64, ge=1)
    """Width of each vector; a multiple of `heads`."""
    heads: int = Field(4, ge=1)
    """Heads of the attention between the events of a history."""
    layers: int = Field(1, ge=1)
    """Transformer blocks over a history."""
    hidden: int = Field(128, ge=1)
    """Width of the feed-forward layers."""
    interests: int = Field(4, ge=1)
    """Vectors per person (user poly-embeddings)."""
    facets: int = Field(2, ge=1)
    """Vectors per item (content poly-embeddings)."""
    summary_weight: float = Field(0.1, ge=0)
    """Weight of telling the summary beside the ranking loss; 0 learns without summaries."""
    temperature: float = Field(0.1, gt=0)
    """Divisor of the cosines by which summaries are told apart."""
    negatives: int = Field(256, ge=1)
    """Items drawn per batch, besides the batch's own targets, against which a target is ranked."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of values dropped in items and attention."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""


class Embsum(nn.Module):
    """Scores an item by the matches between the person's vectors and the item's, weighted by a softmax of how well they match.

    Paper: "EmbSum: leveraging the summarization capabilities of large language models for content-based recommendations". A language model
    sums up what each person took (`recsmith write embsum`), and the person's vectors must tell that summary; in training alone, so
    that people are answered from their histories, strangers too.

    Deviations from the paper: frozen text vectors and a small transformer in the place of a tuned T5; the summary is told as its vector,
    found among those of the batch, where the paper's decoder writes its words; both kinds of vectors come from single text vectors of
    items, not from their tokens; a learned start vector stands for the empty history.
    """

    Config: ClassVar[type[EmbsumConfig]] = EmbsumConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors", "people")
    inductive: ClassVar[bool] = True

    def __init__(self, config: EmbsumConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.texts = ItemVectors(vectors)
        self.people = LateTable(self.texts.dim)
        self.read = nn.Linear(self.texts.dim, config.dim)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim=config.dim, heads=config.heads, hidden=config.hidden, dropout=config.dropout, causal=False)
            for _ in range(config.layers)
        )
        self.pool = PolyAttention(config.dim, config.interests)
        self.facets = nn.Linear(self.texts.dim, config.facets * config.dim)
        self.summary = nn.Linear(config.interests * config.dim, self.texts.dim)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.dropout = Dropout(config.dropout)
        self._table = KeptTable(self, lambda: self._facets_of(self.texts.values))

    def read_people(self, vectors: np.ndarray) -> None:
        """Take in the vectors of the summaries."""
        self.people.set(vectors)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Cross-entropy of a random event of each row among drawn items, plus that of finding the person's summary; 0 without events."""
        targets, before, offsets = random_prefixes(batch.offsets, tokens=len(batch.items), longest=self.config.max_history)
        if not len(targets):
            return self.start.sum() * 0
        interests = self._interests(batch.items[before], offsets)
        drawn = torch.randint(len(self.texts.values), (self.config.negatives,), device=batch.items.device)
        pool, place = torch.cat([batch.items[targets], drawn]).unique(return_inverse=True)
        logits = self.match(interests, self._facets_of(self.texts(pool)))
        ranking = F.cross_entropy(logits.float(), place[: len(targets)])
        users = None if batch.users is None else batch.users[batch.offsets.diff() > 0]
        return ranking + self.config.summary_weight * self._telling(interests, self.people(users, len(targets)))

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        return self.match(self._interests(batch.items[kept], offsets), self._table())

    def match(self, interests: Tensor, facets: Tensor) -> Tensor:
        """`[row, interest, dim]` and `[item, facet, dim]` → `[row, item]`: the mean of the matches, weighted by their softmax."""
        matches = torch.einsum("ukd,ifd->uikf", interests, facets).flatten(2) / self.config.dim**0.5
        return (matches.softmax(2) * matches).sum(2)

    def _interests(self, items: Tensor, offsets: Tensor) -> Tensor:
        """`[row, interest, dim]`."""
        if len(offsets) == 1:
            return self.start.new_zeros(0, self.config.interests, self.config.dim)
        states, offsets = with_start(self.dropout(self.read(self.texts(items))), offsets, self.start)
        plan = Plan.of(offsets)
        for block in self.blocks:
            states = block(states, plan)
        return self.pool(states, offsets)

    def _facets_of(self, vectors: Tensor) -> Tensor:
        return self.facets(vectors).view(len(vectors), self.config.facets, self.config.dim)

    def _telling(self, interests: Tensor, summaries: Tensor) -> Tensor:
        told = summaries.any(1)
        if not told.any() or self.config.summary_weight == 0:
            return interests.sum() * 0
        found = F.normalize(self.summary(interests[told].flatten(1)).float(), dim=1) / self.config.temperature
        return fused_cross_entropy(found, F.normalize(summaries[told], dim=1), torch.arange(len(found), device=found.device))
