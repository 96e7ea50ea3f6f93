"""SASRec: causal self-attention over the history predicts the next item (Kang & McAuley, 2018, arXiv:1808.09781)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn import losses
from recsmith.nn import negatives as draw
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.next_step import Encode, NextStep
from recsmith.protocols import HistoryBatch


class SasrecConfig(CausalEncoderConfig):
    """Size, regularisation and objective of SASRec."""

    loss: Literal["softmax", "bce", "gbce", "sampled-softmax"] = "softmax"
    """softmax over all items; bce against one negative as in the paper; gbce as in gSASRec; softmax over drawn items."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Probability spread over all items in the target of the softmax loss."""
    negatives: int = Field(256, ge=1)
    """Items drawn per target by gbce, per batch by sampled-softmax (bce draws one per target)."""
    sampling: draw.NegativeKind = "uniform"
    """Where the negatives of sampled-softmax come from: all items alike, or the batch's own targets (with correction)."""
    gbce_t: float = Field(0.75, ge=0, le=1)
    """Calibration of gbce: 0 is plain BCE, 1 corrects the overconfidence fully."""


class Sasrec(NextStep):
    """Scores an item by the inner product of its vector with the hidden state of the last event.

    Input and output share the item vectors; every position of a history is trained. A training step multiplies
    `[token, dim] × [dim, item]` in chunks and holds no `[token, item]`; answering holds `[batch, item]`.

    Deviations from the paper: the full softmax is the default objective (`loss = "bce"` is the paper's; its negative may be an
    item of the history); GELU in a feed-forward layer that may be wider than the model; layer norm where `norm` says; no
    padding, so attention sees true events alone; a learned start vector stands for the empty history and is trained to
    predict first items.
    """

    Config: ClassVar[type[Config]] = SasrecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: SasrecConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.encoder = CausalEncoder(config)
        self.apply(partial(initialise_normal, std=config.init_std))

    def forward(self, items: Tensor, offsets: Tensor) -> Tensor:
        """Item indices `[token]` of packed rows, at most `max_history` each → hidden states `[token, dim]`."""
        return self.encoder(self.items(items), offsets)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the loss of the item that came next; 0 for a batch without events."""
        states, targets = self.next_states(self._encode(batch), batch)
        return self._objective(states, batch.items[targets])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        return self.queries(batch) @ self.items.weight.T

    def queries(self, batch: HistoryBatch) -> Tensor:
        """States whose inner products with `answer_vectors` are the scores, `[batch, dim]`."""
        return self.final_states(self._encode(batch), batch)

    def answer_vectors(self) -> tuple[Tensor, None]:
        """Item vectors `[item, dim]`; there is no bias."""
        return self.items.weight, None

    def _encode(self, batch: HistoryBatch) -> Encode:
        return lambda tokens, offsets: self(batch.items[tokens], offsets)

    def _objective(self, hidden: Tensor, targets: Tensor) -> Tensor:
        config, weight = self.config, self.items.weight
        if config.loss == "softmax" or not len(targets):
            return losses.fused_cross_entropy(hidden, weight, targets, label_smoothing=config.label_smoothing)
        if config.loss == "sampled-softmax":
            return self._sampled_softmax(hidden, targets)
        count = 1 if config.loss == "bce" else config.negatives
        negatives = draw.uniform_negatives(targets, items=len(weight), count=count)
        if config.loss == "gbce":
            return losses.gbce(hidden, weight, targets, negatives=negatives, t=config.gbce_t)
        return losses.bce(hidden, weight, targets, negatives=negatives)

    def _sampled_softmax(self, hidden: Tensor, targets: Tensor) -> Tensor:
        weight, count = self.items.weight, self.config.negatives
        if self.config.sampling == "in-batch":
            drawn, log_q = draw.in_batch_negatives(targets, count=count)
            return losses.sampled_softmax(hidden, weight, targets, negatives=drawn, log_q=log_q)
        drawn = draw.shared_negatives(items=len(weight), count=count, device=targets.device)
        return losses.sampled_softmax(hidden, weight, targets, negatives=drawn)
