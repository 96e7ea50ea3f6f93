"""LRURec: linear recurrent units over the history predict the next item (Yue et al., 2024, arXiv:2310.02367)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.dropout import Dropout
from recsmith.nn.linear_recurrence import LinearRecurrentBlock, LinearRecurrentUnit
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import NextStep
from recsmith.protocols import HistoryBatch


class LruRecConfig(Config):
    """Size, memory and regularisation of LRURec."""

    dim: int = Field(64, ge=1)
    """Width of item vectors and hidden states."""
    state: int = Field(128, ge=1)
    """Complex channels of each recurrence."""
    layers: int = Field(2, ge=1)
    """Blocks of a recurrence and a feed-forward part."""
    hidden: int = Field(256, ge=1)
    """Width of the feed-forward layers."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of values dropped, in the input and the two parts of each block."""
    smallest_decay: float = Field(0.8, gt=0, lt=1)
    """Least share of its state that a channel keeps per event when training begins."""
    largest_decay: float = Field(0.99, gt=0, lt=1)
    """Greatest share of its state that a channel keeps per event when training begins."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial item vectors."""

    @model_validator(mode="after")
    def _ring(self) -> LruRecConfig:
        if self.smallest_decay > self.largest_decay:
            raise ValueError(f"`smallest_decay` = {self.smallest_decay} must not exceed `largest_decay` = {self.largest_decay}")
        return self


class LruRec(NextStep):
    """Scores an item by the inner product of its vector with the hidden state of the last event, plus a bias.

    Input and output share the item vectors; every position of a history is trained, against the whole catalogue. Work grows linearly
    with the events (times log2 of the longest row); a step holds `[token, state]` and no `[token, item]`, answering `[batch, item]`.

    Deviations from the paper: the recurrence runs on packed rows by doubling, in place of the recursive split of rows padded
    to a power of two (same result); the complex matrices are pairs of real ones; the feed-forward part has
    one dropout inside and one after; a learned start vector stands for the empty history and is trained to predict first items.
    """

    Config: ClassVar[type[Config]] = LruRecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: LruRecConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.bias = nn.Parameter(torch.zeros(items))
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.input_norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(self._block() for _ in range(config.layers))
        nn.init.normal_(self.items.weight, std=config.init_std)

    def forward(self, items: Tensor, offsets: Tensor) -> Tensor:
        """Item indices `[token]` of packed rows → hidden states `[token, dim]`."""
        tokens = self.dropout(self.input_norm(self.items(items)))
        for block in self.blocks:
            tokens = block(tokens, offsets)
        return tokens

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the cross-entropy of the item that came next; 0 for a batch without events."""
        states, targets = self.next_states(lambda index, offsets: self(batch.items[index], offsets), batch)
        return fused_cross_entropy(states, self.items.weight, batch.items[targets], bias=self.bias)

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        return self.queries(batch) @ self.items.weight.T + self.bias

    def queries(self, batch: HistoryBatch) -> Tensor:
        """States whose inner products with `answer_vectors` are the scores without their bias, `[batch, dim]`."""
        return self.final_states(lambda index, offsets: self(batch.items[index], offsets), batch)

    def answer_vectors(self) -> tuple[Tensor, Tensor]:
        """Item vectors `[item, dim]` and biases `[item]`."""
        return self.items.weight, self.bias

    def _block(self) -> LinearRecurrentBlock:
        config = self.config
        unit = LinearRecurrentUnit(dim=config.dim, state=config.state, smallest=config.smallest_decay, largest=config.largest_decay)
        return LinearRecurrentBlock(unit=unit, dim=config.dim, hidden=config.hidden, dropout=config.dropout)
