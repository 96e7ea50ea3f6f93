"""ZESRec: a recurrent network over item texts that recommends where it was never trained (Ding et al., 2021, arXiv:2105.08318)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recsmith.config import Config
from recsmith.nn.dropout import Dropout
from recsmith.nn.item_vectors import ItemVectors, KeptTable
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import Encode, NextStep
from recsmith.nn.packed import TimeMajor
from recsmith.protocols import HistoryBatch


class ZesrecConfig(Config):
    """Size and regularisation of ZESRec."""

    dim: int = Field(64, ge=1)
    """Width of projected items and of the state that scores them."""
    hidden: int = Field(128, ge=1)
    """Width of the recurrent state."""
    layers: int = Field(1, ge=1)
    """GRU layers on top of each other."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of values dropped in the input and the state."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""


class Zesrec(NextStep):
    """Scores an item by the inner product of its projected text vector with the projected state after the last event.

    Items are known by their texts and people by their histories, so no weight belongs to either: the weights of one run start another on
    other data (`start.run`), where they answer without training (zero-shot), and new items are scored as they come.

    Deviations from the paper: an item's vector is the mean of its prior, a linear map of its text vector; the paper's offset per item,
    which does not transfer, is left out. A GRU without the hierarchy of sessions reads the history; the softmax is full, every position
    is trained, and a learned start vector stands for the empty history.
    """

    Config: ClassVar[type[Config]] = ZesrecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors",)
    inductive: ClassVar[bool] = True

    def __init__(self, config: ZesrecConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.texts = ItemVectors(vectors)
        self.project_item = nn.Linear(self.texts.dim, config.dim)
        self.gru = nn.GRU(config.dim, config.hidden, config.layers)
        self.project_state = nn.Linear(config.hidden, config.dim)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.dropout = Dropout(config.dropout)
        self._table = KeptTable(self, self._item_table)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        """Projected items of packed rows `[token, dim]` → projected states `[token, dim]`. There must be at least one token."""
        order = TimeMajor.of(offsets)
        states = self.gru(PackedSequence(self.dropout(tokens[order.index]), order.batch_sizes))[0].data
        return self.project_state(self.dropout(states))[order.back]

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the cross-entropy of the item that came next; 0 for a batch without events."""
        table = self._item_table()
        states, targets = self.next_states(self._encode(batch, table), batch)
        return fused_cross_entropy(states, table, batch.items[targets])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        return self.queries(batch) @ self.answer_vectors()[0].T

    def queries(self, batch: HistoryBatch) -> Tensor:
        """States whose inner products with `answer_vectors` are the scores, `[batch, dim]`."""
        return self.final_states(self._encode(batch, self._table()), batch)

    def answer_vectors(self) -> tuple[Tensor, None]:
        """Item vectors `[item, dim]`; there is no bias."""
        return self._table(), None

    def _item_table(self) -> Tensor:
        return self.project_item(self.texts.values)

    def _encode(self, batch: HistoryBatch, table: Tensor) -> Encode:
        return lambda tokens, offsets: self(table[batch.items[tokens]], offsets)
