"""HSTU with a generator head: one state of the history, from which the codes of the next item are written one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import ItemCodes
from recsmith.nn.code_sets import CodeSets
from recsmith.nn.dropout import Dropout
from recsmith.nn.hstu import TransductionUnit, gap_buckets, known_times, random_rows
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import Encode, NextStep
from recsmith.nn.packed import Plan, positions
from recsmith.protocols import HistoryBatch


class HstuCodesConfig(Config):
    """Size, regularisation and use of time."""

    dim: int = Field(128, ge=1)
    """Width of code vectors and states."""
    layers: int = Field(2, ge=1)
    """HSTU units on top of each other."""
    heads: int = Field(4, ge=1)
    """Attention heads; must divide `dim`."""
    hidden: int = Field(256, ge=1)
    """Width of the hidden layer of the head that writes codes."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of values dropped, in the input, before the output of each unit and in the head."""
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of attention weights dropped."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    time_buckets: int = Field(64, ge=1)
    """Classes of time between two events, each 1.35 times as long as the one before."""
    hide_times: float = Field(0.1, ge=0, le=1)
    """Share of the training rows whose times are hidden, so that histories without times are answered well; 1 ignores all times."""
    init_std: float = Field(0.05, gt=0)
    """Standard deviation of the initial code vectors and positions."""

    @model_validator(mode="after")
    def _heads_divide(self) -> HstuCodesConfig:
        if self.dim % self.heads:
            raise ValueError(f"`dim` = {self.dim} must be a multiple of `heads` = {self.heads}")
        return self


@dataclass(frozen=True)
class Draft:
    """What is known while an item is written: the state of the history plus the vectors of the codes so far, `[batch, beam, dim]`."""

    context: Tensor


class HstuCodes(NextStep):
    """Reads items as the mean of their codes' vectors and writes the next item's codes level by level.

    The units are those of Zhai et al. (2024, "Actions speak louder than words"), which scores items by their vectors; this head
    generates semantic IDs instead, a combination of ours in the spirit of TIGER (2023). Each code is written by a layer of its level
    that sees the state of the history and the codes so far, without attention: training needs one pass per history and search costs
    next to nothing per beam. Input and output share the vectors of the codes.
    """

    Config: ClassVar[type[Config]] = HstuCodesConfig
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: HstuCodesConfig, *, codes: ItemCodes) -> None:
        super().__init__()
        self.config = config
        self.sizes = tuple(int(size) for size in codes.sizes)
        self.items = CodeSets(torch.as_tensor(codes.table, dtype=torch.int64), self.sizes, config.dim)
        self.positions = nn.Embedding(config.max_history, config.dim)
        self.start = nn.Parameter(torch.empty(config.dim).normal_(std=config.init_std))
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
        self.written = nn.Embedding(sum(self.sizes), config.dim)
        self.writers = nn.ModuleList(_Writer(config.dim, config.hidden, dropout=config.dropout) for _ in self.sizes)
        self.dropout = Dropout(config.dropout)
        for table in (self.items.vectors, self.positions, self.written):
            nn.init.normal_(table.weight, std=config.init_std)

    def forward(self, items: Tensor, offsets: Tensor, times: Tensor) -> Tensor:
        """Item indices and seconds (NaN: unknown) `[token]` of packed rows, at most `max_history` each → states `[token, dim]`."""
        tokens = self.items(items) * self.config.dim**0.5 + self.positions(positions(offsets, tokens=len(items)))
        tokens, plan = self.dropout(tokens), Plan.of(offsets)
        gaps = [gap_buckets(block, buckets=self.config.time_buckets) for block in plan.pad(times)]
        for unit in self.units:
            tokens = unit(tokens, plan, gaps)
        return tokens

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy per code over all positions; 0 for a batch without events."""
        batch = batch.known()
        hidden = random_rows(self.config.hide_times, batch.offsets, tokens=len(batch.items))
        times = known_times(batch.times, like=batch.items).masked_fill(hidden, torch.nan)
        context, index = self.next_states(self._encode(batch, times), batch)
        items = batch.items[index]
        targets, numbers = self.items.codes(items), self.items.numbers[items]
        losses = []
        for level, vectors in enumerate(self.items.by_level()):
            losses.append(fused_cross_entropy(self.writers[level](context), vectors, targets[:, level].contiguous()))
            context = context + self.written(numbers[:, level])
        return torch.stack(losses).mean()

    def prefill(self, batch: HistoryBatch) -> Draft:
        """The state of each history."""
        batch = batch.known()
        return Draft(self.final_states(self._encode(batch, known_times(batch.times, like=batch.items)), batch)[:, None])

    def step(self, state: Draft, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, Draft]:
        """Logits over the codes of `level`, `[batch, beam, size]`."""
        context = state.context
        if last is not None and parents is not None:
            rows = torch.arange(len(context), device=context.device)[:, None]
            context = context[rows, parents] + self.written(last + self.items.borders[level - 1])
        return F.linear(self.writers[level](context), self.items.by_level()[level]), Draft(context)

    def _encode(self, batch: HistoryBatch, times: Tensor) -> Encode:
        return lambda index, offsets: self(batch.items[index], offsets, times[index])


class _Writer(nn.Module):
    """What writes the codes of one level: norm, widen, GELU, narrow, residual, norm. `[…, dim]` → `[…, dim]`."""

    def __init__(self, dim: int, hidden: int, *, dropout: float) -> None:
        super().__init__()
        self.norm, self.output_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.widen, self.narrow = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.dropout = Dropout(dropout)

    def forward(self, context: Tensor) -> Tensor:
        context = self.norm(context)
        return self.output_norm(context + self.narrow(self.dropout(F.gelu(self.widen(context)))))
