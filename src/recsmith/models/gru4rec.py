"""GRU4Rec: a recurrent network over the history predicts the next item (Hidasi & Karatzoglou, 2018, arXiv:1706.03847)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn import losses
from recsmith.nn import negatives as draw
from recsmith.nn.dropout import Dropout
from recsmith.nn.next_step import Encode, NextStep
from recsmith.nn.recurrent import PackedGru
from recsmith.protocols import HistoryBatch


class Gru4RecConfig(Config):
    """Size, regularisation and objective of GRU4Rec."""

    dim: int = Field(64, ge=1)
    """Width of item vectors."""
    hidden: int = Field(128, ge=1)
    """Width of the recurrent state."""
    layers: int = Field(1, ge=1)
    """GRU layers on top of each other."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of values dropped in the input and the state."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    vectors: Literal["tied", "separate"] = "tied"
    """Whether the output scores items by the vectors of the input or by vectors of its own."""
    loss: Literal["cross-entropy", "bpr-max", "top1-max"] = "cross-entropy"
    """cross-entropy over all items, or one of the paper's ranking losses against drawn items."""
    negatives: int = Field(2048, ge=1)
    """Items drawn per batch by bpr-max and top1-max."""
    sampling: draw.NegativeKind = "in-batch"
    """Where negatives come from: all items alike, or the batch's own targets."""
    regularisation: float = Field(0.5, ge=0)
    """Weight of the squared scores of the negatives in bpr-max."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial item vectors."""


class Gru4Rec(NextStep):
    """Scores an item by the inner product of its vector with the projected state after the last event, plus a bias.

    A training step holds no `[token, item]` (cross-entropy goes chunk by chunk); answering holds `[batch, item]`.

    Deviations from the paper: cross-entropy over the whole catalogue is the default; whole histories in shuffled batches instead of
    session-parallel ones, so gradients run to the start of the history; scores stay linear for all losses;
    Adam in place of Adagrad; negatives of the ranking losses are drawn with replacement; a learned start vector stands for
    the empty history and is trained to predict first items.
    """

    Config: ClassVar[type[Config]] = Gru4RecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: Gru4RecConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.outputs = None if config.vectors == "tied" else nn.Parameter(torch.empty(items, config.dim))
        self.bias = nn.Parameter(torch.zeros(items))
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.gru = PackedGru(config.dim, config.hidden, config.layers)
        self.project = nn.Linear(config.hidden, config.dim)
        self.dropout = Dropout(config.dropout)
        for vectors in (self.items.weight, self.outputs):
            if vectors is not None:
                nn.init.normal_(vectors, std=config.init_std)

    @property
    def item_vectors(self) -> Tensor:
        """Vectors that score items, `[item, dim]`."""
        return self.items.weight if self.outputs is None else self.outputs

    def forward(self, items: Tensor, offsets: Tensor) -> Tensor:
        """Item indices `[token]` of packed rows → projected states `[token, dim]`. There must be at least one token."""
        return self.project(self.dropout(self.gru(self.dropout(self.items(items)), offsets)))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the loss of the item that came next; 0 for a batch without events."""
        states, targets = self.next_states(self._encode(batch), batch)
        return self._objective(states, batch.items[targets])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        return self.queries(batch) @ self.item_vectors.T + self.bias

    def queries(self, batch: HistoryBatch) -> Tensor:
        """States whose inner products with `answer_vectors` are the scores without their bias, `[batch, dim]`."""
        return self.final_states(self._encode(batch), batch)

    def answer_vectors(self) -> tuple[Tensor, Tensor]:
        """Item vectors `[item, dim]` and biases `[item]`."""
        return self.item_vectors, self.bias

    def _encode(self, batch: HistoryBatch) -> Encode:
        return lambda tokens, offsets: self(batch.items[tokens], offsets)

    def _objective(self, hidden: Tensor, targets: Tensor) -> Tensor:
        config, vectors = self.config, self.item_vectors
        if config.loss == "cross-entropy" or not len(targets):
            return losses.fused_cross_entropy(hidden, vectors, targets, bias=self.bias)
        if config.sampling == "in-batch":
            negatives, _ = draw.in_batch_negatives(targets, count=config.negatives)
        else:
            negatives = draw.shared_negatives(items=len(vectors), count=config.negatives, device=targets.device)
        # the bias as one more column, so that the losses need not know of it
        hidden = torch.cat([hidden, torch.ones_like(hidden[:, :1])], 1)
        vectors = torch.cat([vectors, self.bias[:, None]], 1)
        if config.loss == "bpr-max":
            return losses.bpr_max(hidden, vectors, targets, negatives=negatives, regularisation=config.regularisation)
        return losses.top1_max(hidden, vectors, targets, negatives=negatives)
