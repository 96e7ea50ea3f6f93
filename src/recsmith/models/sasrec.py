"""SASRec: causal self-attention over the history predicts the next item (Kang & McAuley, 2018, arXiv:1808.09781)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn import losses
from recsmith.nn import negatives as draw
from recsmith.nn.attention import TransformerBlock
from recsmith.nn.dropout import Dropout
from recsmith.nn.next_step import Encode, final_states, next_states
from recsmith.nn.packed import Plan, positions, reversed_positions
from recsmith.protocols import HistoryBatch


class SasrecConfig(Config):
    """Size, regularisation and objective of SASRec."""

    dim: int = Field(64, ge=1)
    """Width of item vectors and hidden states."""
    layers: int = Field(2, ge=1)
    """Transformer blocks."""
    heads: int = Field(2, ge=1)
    """Attention heads; must divide `dim`."""
    hidden: int = Field(256, ge=1)
    """Width of the feed-forward layers."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of values dropped, in the input and the two parts of each block."""
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of attention weights dropped."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    positions: Literal["start", "end"] = "start"
    """From which end of the history the learned positions count."""
    norm: Literal["pre", "post"] = "post"
    """Layer norm before or after each part of a block."""
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
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial weights."""

    @model_validator(mode="after")
    def _heads_divide(self) -> SasrecConfig:
        if self.dim % self.heads:
            raise ValueError(f"`dim` = {self.dim} must be a multiple of `heads` = {self.heads}")
        return self


class Sasrec(nn.Module):
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
        self.positions = nn.Embedding(config.max_history, config.dim)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.input_norm = nn.LayerNorm(config.dim)
        self.output_norm = nn.LayerNorm(config.dim) if config.norm == "pre" else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dim=config.dim,
                heads=config.heads,
                hidden=config.hidden,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                norm=config.norm,
            )
            for _ in range(config.layers)
        )
        self.apply(self._initialise)

    def forward(self, items: Tensor, offsets: Tensor) -> Tensor:
        """Item indices `[token]` of packed rows, at most `max_history` each → hidden states `[token, dim]`."""
        count = reversed_positions if self.config.positions == "end" else positions
        place = count(offsets, tokens=len(items))
        tokens = self.items(items) + self.positions(place)
        tokens = self.dropout(self.input_norm(tokens) if self.config.norm == "post" else tokens)
        plan = Plan.of(offsets)
        for block in self.blocks:
            tokens = block(tokens, plan)
        return self.output_norm(tokens)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the loss of the item that came next; 0 for a batch without events."""
        states, targets = next_states(self._encode(batch), batch.offsets, **self._reach(batch))
        return self._objective(states, batch.items[targets])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        return final_states(self._encode(batch), batch.offsets, **self._reach(batch)) @ self.items.weight.T

    def _encode(self, batch: HistoryBatch) -> Encode:
        return lambda tokens, offsets: self(batch.items[tokens], offsets)

    def _reach(self, batch: HistoryBatch) -> dict[str, Any]:
        return {"tokens": len(batch.items), "longest": self.config.max_history, "start": self.start}

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

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.init_std)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
