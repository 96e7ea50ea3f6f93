"""COBRA: writes an item's sparse codes, then the dense vector that picks it among items of equal codes (Yang et al., 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import ItemCodes
from recsmith.nn.causal_stack import CausalStack, CausalState
from recsmith.nn.dropout import Dropout
from recsmith.nn.packed import next_token, offsets_from, positions, row_ids, tail_index
from recsmith.protocols import HistoryBatch


class CobraConfig(Config):
    """Size, regularisation and balance of COBRA."""

    dim: int = Field(64, ge=1)
    """Width of code embeddings, dense vectors and hidden states (paper: 768)."""
    layers: int = Field(2, ge=1)
    """Transformer blocks."""
    heads: int = Field(2, ge=1)
    """Attention heads; must divide `dim`."""
    hidden: int = Field(256, ge=1)
    """Width of the feed-forward layers."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of values dropped, in the input and the two parts of each block."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    norm: Literal["pre", "post"] = "post"
    """Layer norm before or after each part of a block."""
    temperature: float = Field(0.07, gt=0)
    """Divisor of the cosine between a written and an item's dense vector."""
    dense_weight: float = Field(1.0, gt=0)
    """Weight of the dense vectors' loss beside that of the codes."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial weights."""

    @model_validator(mode="after")
    def _heads_divide(self) -> CobraConfig:
        if self.dim % self.heads:
            raise ValueError(f"`dim` = {self.dim} must be a multiple of `heads` = {self.heads}")
        return self


@dataclass(frozen=True)
class CobraState:
    """What has been written on each beam: the stack's state, the prefix of codes as one number `[batch, beam]`, the next logits' source."""

    stack: CausalState
    prefix: Tensor | None
    states: Tensor | None


class Cobra(nn.Module):
    """A decoder-only transformer over `code, …, code, dense vector` for each item of a history, which continues in the same order.

    The codes of the tokenizer without its collision level are the sparse ID; its collision level numbers the items of equal codes, and
    what chooses among them is not a learned digit but the dense vector: the state after the last code is compared by cosine with
    the vectors of the items that have these codes. So the probability of an item is that of its codes times its share among the
    items of these codes, which is the paper's fusion of beam and dense scores for beams and items alike.

    Deviations from the paper: dense vectors are a trained projection of the given item vectors instead of a text encoder trained along;
    the share is a softmax among items of equal codes; the dense loss contrasts with all different targets of the batch (as in the paper)
    but counts each once; several short codes instead of one or three long ones as the tokenizer has it; a start token, so that
    the empty history is answered; the size is a CPU's.
    """

    Config: ClassVar[type[Config]] = CobraConfig
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors",)

    item_codes: Tensor
    vectors: Tensor
    prefixes: Tensor
    members: Tensor

    def __init__(self, config: CobraConfig, *, codes: ItemCodes, vectors: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.sizes = tuple(int(size) for size in codes.sizes)
        self.written = len(self.sizes) - 1
        self.firsts = [sum(self.sizes[:level]) for level in range(self.written)]
        table = torch.as_tensor(codes.table, dtype=torch.int64)
        self.register_buffer("item_codes", table.clone())
        self.register_buffer("vectors", F.normalize(torch.as_tensor(vectors, dtype=torch.float32), dim=1))
        prefixes, members = _groups(self._number(table[:, :-1]), table[:, -1], self.sizes[-1])
        self.register_buffer("prefixes", prefixes, persistent=False)
        self.register_buffer("members", members, persistent=False)
        self.codes = nn.Embedding(sum(self.sizes[:-1]), config.dim)
        self.project = nn.Linear(self.vectors.shape[1], config.dim)
        self.kinds = nn.Embedding(self.written + 1, config.dim)
        self.positions = nn.Embedding(config.max_history + 1, config.dim)
        self.begin = nn.Parameter(torch.zeros(config.dim))
        self.input_norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)
        self.stack = CausalStack(
            dim=config.dim, layers=config.layers, heads=config.heads, hidden=config.hidden, dropout=config.dropout, norm=config.norm
        )
        self.write_dense = nn.Linear(config.dim, config.dim)
        self.apply(self._initialise)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy per code plus `dense_weight` × that of the dense vectors, over all positions; 0 without events."""
        batch = batch.known()
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history + 1)
        if not len(kept):
            return self.codes.weight.sum() * 0.0
        items = batch.items[kept]
        states = self._read_for_training(items, offsets)
        targets = self.item_codes[items]
        losses = [F.cross_entropy(self._logits(states[:, level], level).float(), targets[:, level]) for level in range(self.written)]
        return torch.stack(losses).mean() + self.config.dense_weight * self._dense_loss(states[:, self.written], items)

    def prefill(self, batch: HistoryBatch) -> CobraState:
        """Read the last `max_history` items of each row."""
        batch = batch.known()
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        last, stack = self.stack.start(*self._tokens(batch.items[kept], offsets))
        return CobraState(stack, None, last[:, None])

    def step(self, state: CobraState, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, CobraState]:
        """Logits over the codes of `level`, at the last level over the items of the beam's codes (-inf where there is none)."""
        if last is None:
            assert state.states is not None
            return self._logits(state.states, 0), state
        assert parents is not None
        before = torch.zeros_like(last) if state.prefix is None else state.prefix.gather(1, parents)
        prefix = before * self.sizes[level - 1] + last
        tokens = self.codes(last + self.firsts[level - 1]) + self.kinds.weight[level - 1] + self._places(state.stack)[:, None]
        hidden, stack = self.stack.step(self._enter(tokens), state.stack, parents)
        new = CobraState(stack, prefix, None)
        return (self._logits(hidden, level) if level < self.written else self._share(hidden, prefix)), new

    def _read_for_training(self, items: Tensor, offsets: Tensor) -> Tensor:
        """The states that predict each code and the dense vector of each item, `[item, level, dim]`."""
        width = self.written + 1
        tokens, longer = self._tokens(items, offsets)
        states = self.stack(self.dropout(tokens), longer)
        rows = row_ids(offsets, tokens=len(items))
        first = longer[:-1][rows] + positions(offsets, tokens=len(items)) * width
        return states[first[:, None] + torch.arange(width, device=items.device)]

    def _tokens(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Embedded rows: a start token, then codes and dense vector of each item; and their offsets."""
        width = self.written + 1
        codes = self.item_codes[items, : self.written] + torch.tensor(self.firsts, dtype=torch.int64, device=items.device)
        parts = torch.cat([self.codes(codes), self._dense(items)[:, None]], 1) + self.kinds.weight
        parts = parts + self.positions((positions(offsets, tokens=len(items)) + 1).clamp(max=self.config.max_history))[:, None]
        longer = offsets_from(offsets.diff() * width + 1)
        shift = next_token(longer, tokens=len(items) * width + len(offsets) - 1)
        tokens = self.begin.new_empty(len(items) * width + len(offsets) - 1, self.config.dim)
        tokens = tokens.index_copy(0, shift.firsts, (self.begin + self.positions.weight[0]).expand(len(offsets) - 1, -1))
        return self._enter(tokens.index_copy(0, shift.targets, parts.flatten(0, 1))), longer

    def _enter(self, tokens: Tensor) -> Tensor:
        return self.input_norm(tokens) if self.config.norm == "post" else tokens

    def _places(self, stack: CausalState) -> Tensor:
        """Position of the item that is being written, `[batch, dim]`."""
        items = (stack.real.sum(1) - 1) // (self.written + 1)
        return self.positions((items + 1).clamp(max=self.config.max_history))

    def _dense(self, items: Tensor) -> Tensor:
        """Dense vectors of items as they are read, `[item, dim]`."""
        return self.project(self.vectors[items])

    def _logits(self, hidden: Tensor, level: int) -> Tensor:
        own = self.codes.weight[self.firsts[level] : self.firsts[level] + self.sizes[level]]
        return F.linear(hidden, own)

    def _dense_loss(self, hidden: Tensor, items: Tensor) -> Tensor:
        rivals, place = items.unique(return_inverse=True)
        similar = self._direction(hidden) @ F.normalize(self._dense(rivals).float(), dim=1).T / self.config.temperature
        return F.cross_entropy(similar, place)

    def _direction(self, hidden: Tensor) -> Tensor:
        return F.normalize(self.write_dense(hidden).float(), dim=-1)

    def _share(self, hidden: Tensor, prefix: Tensor) -> Tensor:
        """Log of each item's share among those of the same codes, `[batch, beam, size of the last level]`."""
        group = torch.searchsorted(self.prefixes, prefix).clamp(max=len(self.prefixes) - 1)
        members = self.members[group]
        missing = (members < 0) & (self.prefixes[group] == prefix)[..., None]
        dense = F.normalize(self._dense(members.clamp(min=0)).float(), dim=3)
        similar = torch.einsum("bqd,bqmd->bqm", self._direction(hidden), dense) / self.config.temperature
        return similar.masked_fill(missing, -torch.inf).log_softmax(2)

    def _number(self, prefixes: Tensor) -> Tensor:
        """Codes `[row, level]` as one number per row."""
        number = torch.zeros(len(prefixes), dtype=torch.int64)
        for level in range(self.written):
            number = number * self.sizes[level] + prefixes[:, level]
        return number

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.init_std)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def _groups(numbers: Tensor, digits: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The different prefixes, ascending, and the item of each digit below them, -1 where there is none, `[prefix, size]`."""
    prefixes, group = numbers.unique(return_inverse=True)
    members = torch.full((len(prefixes), size), -1)
    members[group, digits] = torch.arange(len(numbers))
    return prefixes, members
