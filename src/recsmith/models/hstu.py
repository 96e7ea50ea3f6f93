"""HSTU: hierarchical sequential transduction units predict the next item from items and times (Zhai et al., 2024, arXiv:2402.17152)."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.errors import ConfigError, DataError
from recsmith.nn.dropout import Dropout
from recsmith.nn.hstu import TransductionUnit, gap_buckets, known_times, random_rows
from recsmith.nn.losses import fused_cross_entropy, sampled_softmax
from recsmith.nn.negatives import shared_negatives
from recsmith.nn.next_step import NextStep
from recsmith.nn.packed import Plan, inserted, last_index, next_token, positions, repeated_rows, tail_index
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
    """Share of the training rows whose times (and actions) are hidden, so that histories without are answered well; 1 ignores them all."""
    actions: list[float] = []
    """Borders, ascending, that sort events by weight into actions, which are then read too: [4.0] makes two, below 4 and from 4 on."""
    least_liked: int = Field(0, ge=0)
    """Number of the least action (from 0) whose items retrieval learns to predict; 0 learns them all."""
    action_weight: float = Field(1.0, ge=0)
    """Weight of the loss of the ranking head, which predicts the action, beside that of retrieval."""
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

    @model_validator(mode="after")
    def _actions_rise(self) -> HstuConfig:
        if any(low >= high for low, high in pairwise(self.actions)):
            raise ValueError(f"`actions` = {self.actions} must rise, as in [2.0, 4.0]")
        if self.least_liked > len(self.actions):
            raise ValueError(f"`least_liked` = {self.least_liked} is not an action; {len(self.actions) + 1} actions are numbered from 0")
        return self


class Hstu(NextStep):
    """Scores an item by the similarity of its vector to the state of the last event: the paper's retrieval head.

    Input and output share the item vectors; every position of a history is trained. Attention weighs items, distance and time
    pointwise (SiLU, no softmax). A batch without times, or a row with times that are not finite, gets the bias of unknown
    time. A step with the full softmax holds no `[token, item]`; answering holds `[batch, item]`.

    With `actions`, each item is followed by a token for what was done with it: the state at an item predicts its action (the ranking head,
    `action_probabilities`), the state at an action the next item. An event without a weight has the unknown action.

    Deviations from the paper: the full softmax is the default objective; the time bias looks from an event's own time, not from
    that of the event to predict, which is unknown when answering; times and actions of some training rows are hidden
    (`hide_times`); distance and time share one bias for all heads; no stochastic length; plain products in place of a fused
    kernel; a learned start vector stands for the empty history and is trained to predict first items; ranking reads the history
    once per candidate.
    """

    Config: ClassVar[type[Config]] = HstuConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    borders: Tensor
    """`actions` of the config, where there are any, `[action - 1]`."""

    def __init__(self, config: HstuConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        longest = 2 * (config.max_history + 1) if config.actions else config.max_history
        self.positions = nn.Embedding(longest, config.dim)
        self.start = nn.Parameter(torch.empty(config.dim).normal_(std=config.init_std))
        self.output_norm = nn.LayerNorm(config.dim) if config.similarity == "dot" else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.units = nn.ModuleList(
            TransductionUnit(
                dim=config.dim,
                heads=config.heads,
                longest=longest,
                buckets=config.time_buckets,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
            )
            for _ in range(config.layers)
        )
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=config.init_std)
        if config.actions:
            self.register_buffer("borders", torch.tensor(config.actions), persistent=False)
            self.actions = nn.Embedding(len(config.actions) + 2, config.dim)  # the last one is unknown
            self.action_head = nn.Linear(config.dim, len(config.actions) + 1)
            nn.init.normal_(self.actions.weight, std=config.init_std)

    def forward(self, items: Tensor, offsets: Tensor, times: Tensor, actions: Tensor | None = None) -> Tensor:
        """Item indices and seconds (NaN: unknown) `[token]` of packed rows, at most `max_history` each → states `[token, dim]`.

        With the number of each event's action, int64 `[token]`, states at items and actions in turns, `[2 token, dim]`; a row may then
        have an event more.
        """
        vectors = self.items(items) * self.config.dim**0.5
        if actions is not None:
            vectors = torch.stack([vectors, self.actions(actions) * self.config.dim**0.5], 1).flatten(0, 1)
            offsets, times = 2 * offsets, times.repeat_interleave(2)
        tokens = self.dropout(vectors + self.positions(positions(offsets, tokens=len(vectors))))
        plan = Plan.of(offsets)
        gaps = [gap_buckets(block, buckets=self.config.time_buckets) for block in plan.pad(times)]
        for unit in self.units:
            tokens = unit(tokens, plan, gaps)
        return self.output_norm(tokens)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the loss of the item that came next, plus that of the actions; 0 for a batch without events.

        Raises `DataError` where actions are to be read from a log without ratings.
        """
        hidden = random_rows(self.config.hide_times, batch.offsets, tokens=len(batch.items))
        times = known_times(batch.times, like=batch.items).masked_fill(hidden, torch.nan)
        if self.config.actions:
            return self._loss_with_actions(batch, times, hidden)
        states, index = self.next_states(lambda index, offsets: self(batch.items[index], offsets, times[index]), batch)
        return self._retrieval_loss(states, batch.items[index])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        return self.queries(batch) @ self.answer_vectors()[0].T

    def queries(self, batch: HistoryBatch) -> Tensor:
        """States whose inner products with `answer_vectors` are the scores, `[batch, dim]`."""
        times = known_times(batch.times, like=batch.items)
        numbers = self._action_numbers(batch)

        def encode(index: Tensor, offsets: Tensor) -> Tensor:
            if numbers is None:
                return self(batch.items[index], offsets, times[index])
            return self(batch.items[index], offsets, times[index], numbers[index])[1::2]

        return self._sharp(self.final_states(encode, batch))

    def answer_vectors(self) -> tuple[Tensor, None]:
        """Item vectors `[item, dim]`; there is no bias."""
        return self.items.weight if self.config.similarity == "dot" else F.normalize(self.items.weight, dim=1), None

    def action_probabilities(self, batch: HistoryBatch, candidates: Tensor) -> Tensor:
        """The ranking head: probability of each action if a candidate came next, `[batch, candidate, action]`.

        `candidates` are items int64 `[batch, candidate]`; they are asked about at the time of each row's last event. Raises `ConfigError`
        for a model that reads no actions.
        """
        numbers = self._action_numbers(batch)
        if numbers is None:
            raise ConfigError("this HSTU reads no actions and cannot rank by them; set `model.actions`, as in [4.0], and fit again")
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        rows, asked = candidates.shape
        index, offsets = repeated_rows(kept, offsets, asked)
        times = known_times(batch.times, like=batch.items)[index]
        last = last_index(offsets)
        asked_at = torch.where(last >= 0, torch.cat([times, times.new_full([1], torch.nan)])[last], torch.nan)
        longer = offsets + torch.arange(len(offsets), device=offsets.device)
        ends = longer[1:] - 1
        unknown = torch.full_like(ends, self.actions.num_embeddings - 1)
        states = self(
            inserted(batch.items[index], candidates.flatten(), ends),
            longer,
            inserted(times, asked_at, ends),
            inserted(numbers[index], unknown, ends),
        )
        return self.action_head(states[2 * ends]).float().softmax(1).view(rows, asked, -1)

    def _loss_with_actions(self, batch: HistoryBatch, times: Tensor, hidden: Tensor) -> Tensor:
        """Retrieval from the states at actions, ranking from those at items."""
        if batch.weights is None and len(batch.items):
            raise DataError("HSTU is to read actions, but the log has no ratings; give a column `rating`, or leave `model.actions` empty")
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history + 1)
        numbers = self._action_numbers(batch)
        if numbers is None or not len(kept):
            return self.start.sum() * 0
        unknown = self.actions.num_embeddings - 1
        items, done = batch.items[kept], numbers[kept]
        states = self(items, offsets, times[kept], done.masked_fill(hidden[kept], unknown))
        shift = next_token(offsets, tokens=len(kept))
        after = torch.cat([states[1::2][shift.inputs], self.start.expand(len(shift.firsts), -1).to(states.dtype)])
        targets = torch.cat([shift.targets, shift.firsts])
        liked = done[targets] >= self.config.least_liked
        retrieval = self._retrieval_loss(after[liked], items[targets[liked]])
        known = (done < unknown).nonzero().squeeze(1)
        ranking = F.cross_entropy(self.action_head(states[0::2][known]).float(), done[known], reduction="sum") / max(len(known), 1)
        return retrieval + self.config.action_weight * ranking

    def _retrieval_loss(self, states: Tensor, targets: Tensor) -> Tensor:
        states, vectors = self._sharp(states), self.answer_vectors()[0]
        if self.config.loss == "softmax" or not len(targets):
            return fused_cross_entropy(states, vectors, targets)
        drawn = shared_negatives(items=len(vectors), count=self.config.negatives, device=targets.device)
        return sampled_softmax(states, vectors, targets, negatives=drawn)

    def _action_numbers(self, batch: HistoryBatch) -> Tensor | None:
        """Number of each event's action, the last one where the weight is unknown, int64 `[token]`; None where actions are not read."""
        if not self.config.actions:
            return None
        unknown = self.actions.num_embeddings - 1
        if batch.weights is None:
            return torch.full_like(batch.items, unknown)
        numbers = torch.bucketize(batch.weights, self.borders.to(batch.weights.dtype), right=True)
        return numbers.masked_fill(~batch.weights.isfinite(), unknown)

    def _sharp(self, states: Tensor) -> Tensor:
        """States as they are compared with `answer_vectors`."""
        return states if self.config.similarity == "dot" else F.normalize(states, dim=1) / self.config.temperature
