"""Filling masked places of packed rows with a transformer that sees both sides (Sun et al., 2019), and answering by a mask at the end.

Letters of the shapes: `token` = events of all rows, `batch` = rows, `item` = size of the catalogue.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.attention import TransformerBlock
from recsmith.nn.dropout import Dropout
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.packed import Plan, positions, reversed_positions, row_ids, tail_index
from recsmith.protocols import HistoryBatch


class MaskedSequenceConfig(Config):
    """Size, masking and regularisation of a transformer that fills masked places; models add their own settings to these."""

    dim: int = Field(64, ge=1)
    """Width of item vectors and hidden states."""
    layers: int = Field(2, ge=1)
    """Transformer blocks."""
    heads: int = Field(2, ge=1)
    """Attention heads; must divide `dim`."""
    hidden: int = Field(256, ge=1)
    """Width of the feed-forward layers."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of values dropped, in the input and the two parts of each block."""
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of attention weights dropped."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    mask_share: float = Field(0.4, gt=0, le=1)
    """Share of the events of a training row that are masked and predicted; at least one is."""
    last_share: float = Field(0.1, ge=0, le=1)
    """Share of training rows in which the last event alone is masked, which is what answering looks like."""
    positions: Literal["start", "end"] = "end"
    """From which end of the history the learned positions count."""
    norm: Literal["pre", "post"] = "post"
    """Layer norm before or after each part of a block."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial weights."""

    @model_validator(mode="after")
    def _heads_divide(self) -> MaskedSequenceConfig:
        if self.dim % self.heads:
            raise ValueError(f"`dim` = {self.dim} must be a multiple of `heads` = {self.heads}")
        return self


class MaskedSequence(nn.Module):
    """Scores an item by the inner product of its vector with what a mask behind the last event is filled with, plus a bias.

    Input and output share the item vectors. A training step masks random events and holds no `[token, item]`; answering holds
    `[batch, item]`. The empty history is a mask alone, which training rows of one event teach. A subclass may build other blocks.
    """

    def __init__(self, config: MaskedSequenceConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.positions = nn.Embedding(config.max_history + 1, config.dim)
        self.mask = nn.Parameter(torch.empty(config.dim).normal_(std=config.init_std))
        self.bias = nn.Parameter(torch.zeros(items))
        self.input_norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(self._block(config) for _ in range(config.layers))
        self.head = nn.Linear(config.dim, config.dim)
        self.head_norm = nn.LayerNorm(config.dim)
        self.apply(self._initialise)

    def forward(self, items: Tensor, masked: Tensor, offsets: Tensor) -> Tensor:
        """Vectors that fill the masked places, `[masked place, dim]`.

        `items` int64 `[token]` of packed rows, at most `max_history + 1` each, and where a mask stands in an item's place, bool
        `[token]`; the item there is not looked at. There must be at least one token.
        """
        count = reversed_positions if self.config.positions == "end" else positions
        tokens = torch.where(masked[:, None], self.mask, self.items(items)) + self.positions(count(offsets, tokens=len(items)))
        tokens = self.dropout(self.input_norm(tokens) if self.config.norm == "post" else tokens)
        plan = Plan.of(offsets)
        for block in self.blocks:
            tokens = block(tokens, plan)
        filled = F.gelu(self.head(tokens[masked.nonzero().squeeze(1)]))
        return self.head_norm(filled.to(tokens.dtype))  # where the product was rounded, the loss is not

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy of the masked items over the whole catalogue; 0 for a batch without events."""
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history + 1)
        items = batch.items[kept]
        if not len(items):
            return fused_cross_entropy(self.mask.expand(0, -1), self.items.weight, items, bias=self.bias)
        masked = self._draw(offsets, tokens=len(items))
        return fused_cross_entropy(self(items, masked, offsets), self.items.weight, items[masked], bias=self.bias)

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        return self.queries(batch) @ self.items.weight.T + self.bias

    def queries(self, batch: HistoryBatch) -> Tensor:
        """States whose inner products with `answer_vectors` are the scores without their bias, `[batch, dim]`."""
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        if not len(batch):
            return self.items.weight[:0]
        items, masked, offsets = _with_masks(batch.items[kept], offsets)
        hidden: Tensor = self(items, masked, offsets)
        return hidden

    def answer_vectors(self) -> tuple[Tensor, Tensor]:
        """Item vectors `[item, dim]` and biases `[item]`."""
        return self.items.weight, self.bias

    def _block(self, config: MaskedSequenceConfig) -> TransformerBlock:
        return TransformerBlock(
            dim=config.dim,
            heads=config.heads,
            hidden=config.hidden,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            norm=config.norm,
            causal=False,
        )

    def _draw(self, offsets: Tensor, *, tokens: int) -> Tensor:
        """Random masks for the rows of `offsets`, bool `[token]`; at least one in every row that is not empty."""
        device, filled = offsets.device, offsets.diff() > 0
        rows = row_ids(offsets, tokens=tokens)
        chance = torch.rand(tokens, device=device)
        last_only = torch.rand(len(filled), device=device) < self.config.last_share
        masked = (chance < self.config.mask_share) & ~last_only[rows]
        least = torch.full([len(filled)], 2.0, device=device).scatter_reduce(0, rows, chance, "amin")
        masked |= (chance == least[rows]) & ~last_only[rows]
        masked[(offsets[1:] - 1)[filled & last_only]] = True
        return masked

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.init_std)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def _with_masks(items: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same rows with one more place at the end of each: items, where those places are, and the offsets."""
    longer = offsets + torch.arange(len(offsets), device=offsets.device)
    masked = torch.zeros(len(items) + len(offsets) - 1, dtype=torch.bool, device=items.device)
    masked[longer[1:] - 1] = True
    placed = torch.zeros(len(masked), dtype=items.dtype, device=items.device)
    placed[~masked] = items
    return placed, masked, longer
