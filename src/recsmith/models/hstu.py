"""HSTU: hierarchical sequential transduction units predict the next item from items and times (Zhai et al., 2024, arXiv:2402.17152)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.dropout import Dropout
from recsmith.nn.hstu import TransductionUnit, gap_buckets
from recsmith.nn.losses import fused_cross_entropy, sampled_softmax
from recsmith.nn.negatives import shared_negatives
from recsmith.nn.next_step import final_states, next_states
from recsmith.nn.packed import Plan, positions, row_ids
from recsmith.protocols import HistoryBatch


class HstuConfig(Config):
    """Size, regularisation, use of time, and objective of HSTU."""

    dim: int = Field(64, ge=1)
    """Width of item vectors, gates, values, queries and keys."""
    layers: int = Field(2, ge=1)
    """Units on top of each other."""
    heads: int = Field(2, ge=1)
    """Attention heads; must divide `dim`."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of values dropped, in the input and before the output of each unit."""
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of attention weights dropped."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    time_buckets: int = Field(64, ge=1)
    """Classes of time between two events, each 1.35 times as long as the one before; 64 reach from a second to nine years."""
    hide_times: float = Field(0.1, ge=0, le=1)
    """Share of the training rows whose times are hidden, so that histories without times are answered well; 1 ignores all times."""
    similarity: Literal["dot", "cosine"] = "dot"
    """How a state meets an item vector: inner product of the normed state, or cosine divided by `temperature`."""
    temperature: float = Field(0.05, gt=0)
    """Divisor of the cosine."""
    loss: Literal["softmax", "sampled-softmax"] = "softmax"
    """softmax over all items, or over drawn items as in the paper."""
    negatives: int = Field(512, ge=1)
    """Items drawn per batch by sampled-softmax."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial item vectors and positions."""

    @model_validator(mode="after")
    def _heads_divide(self) -> HstuConfig:
        if self.dim % self.heads:
            raise ValueError(f"`dim` = {self.dim} must be a multiple of `heads` = {self.heads}")
        return self


class Hstu(nn.Module):
    """Scores an item by the similarity of its vector to the state of the last event: the paper's retrieval head.

    Input and output share the item vectors; every position of a history is trained. Attention weighs items, distance and time
    pointwise (SiLU, no softmax). A batch without times, or a row with times that are not finite, gets the bias of unknown
    time. A step with the full softmax holds no `[token, item]`; answering holds `[batch, item]`.

    Deviations from the paper: items alone are read and predicted, no actions, and there is no ranking head; the full softmax is the
    default objective; the time bias looks from an event's own time, not from that of the event to predict, which is
    unknown when answering; the times of some training rows are hidden (`hide_times`); distance and time share one bias for
    all heads; no stochastic length; plain products in place of a fused kernel; a learned start vector stands for
    the empty history and is trained to predict first items.
    """

    Config: ClassVar[type[Config]] = HstuConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: HstuConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.positions = nn.Embedding(config.max_history, config.dim)
        self.start = nn.Parameter(torch.empty(config.dim).normal_(std=config.init_std))
        self.output_norm = nn.LayerNorm(config.dim) if config.similarity == "dot" else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.units = nn.ModuleList(
            TransductionUnit(
                dim=config.dim,
                heads=config.heads,
                longest=config.max_history,
                buckets=config.time_buckets,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
            )
            for _ in range(config.layers)
        )
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=config.init_std)

    def forward(self, items: Tensor, offsets: Tensor, times: Tensor) -> Tensor:
        """Item indices and seconds (NaN: unknown) `[token]` of packed rows, at most `max_history` each → states `[token, dim]`."""
        place = positions(offsets, tokens=len(items))
        tokens = self.dropout(self.items(items) * self.config.dim**0.5 + self.positions(place))
        plan = Plan.of(offsets)
        gaps = [gap_buckets(block, buckets=self.config.time_buckets) for block in plan.pad(times)]
        for unit in self.units:
            tokens = unit(tokens, plan, gaps)
        return self.output_norm(tokens)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the loss of the item that came next; 0 for a batch without events."""
        times = self._hide(_times(batch), batch.offsets)
        states, index = next_states(
            lambda index, offsets: self(batch.items[index], offsets, times[index]),
            batch.offsets,
            tokens=len(batch.items),
            longest=self.config.max_history,
            start=self.start,
        )
        states, vectors = self._comparable(states)
        targets = batch.items[index]
        if self.config.loss == "softmax" or not len(targets):
            return fused_cross_entropy(states, vectors, targets)
        drawn = shared_negatives(items=len(vectors), count=self.config.negatives, device=targets.device)
        return sampled_softmax(states, vectors, targets, negatives=drawn)

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        times = _times(batch)
        states = final_states(
            lambda index, offsets: self(batch.items[index], offsets, times[index]),
            batch.offsets,
            tokens=len(batch.items),
            longest=self.config.max_history,
            start=self.start,
        )
        states, vectors = self._comparable(states)
        return states @ vectors.T

    def _comparable(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """States and item vectors whose inner product is the score."""
        if self.config.similarity == "dot":
            return states, self.items.weight
        return F.normalize(states, dim=1) / self.config.temperature, F.normalize(self.items.weight, dim=1)

    def _hide(self, times: Tensor, offsets: Tensor) -> Tensor:
        """NaN for all times of randomly chosen rows."""
        hidden = torch.rand(len(offsets) - 1, device=times.device) < self.config.hide_times
        return times.masked_fill(hidden[row_ids(offsets, tokens=len(times))], torch.nan)


def _times(batch: HistoryBatch) -> Tensor:
    """Seconds of each event, NaN where they are unknown; float64 `[token]`."""
    if batch.times is None:
        return torch.full(batch.items.shape, torch.nan, dtype=torch.float64, device=batch.items.device)
    return batch.times.masked_fill(~batch.times.isfinite(), torch.nan)
