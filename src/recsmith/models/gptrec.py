"""GPTRec: a GPT-2 over one or several tokens per item that writes recommendations one by one (Petrov & Macdonald, 2023, 2306.11114)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import ItemCodes
from recsmith.nn.causal_encoder import initialise_normal
from recsmith.nn.causal_stack import CausalStack, CausalState
from recsmith.nn.code_sets import CodeSets
from recsmith.nn.dropout import Dropout
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.packed import inserted, offsets_from, positions, row_ids, tail_index
from recsmith.protocols import HistoryBatch


class GptRecConfig(Config):
    """Size and regularisation of GPTRec."""

    dim: int = Field(64, ge=1)
    """Width of token vectors and hidden states."""
    layers: int = Field(2, ge=1)
    """Transformer blocks."""
    heads: int = Field(2, ge=1)
    """Attention heads; must divide `dim`."""
    hidden: int = Field(256, ge=1)
    """Width of the feed-forward layers."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of values dropped, in the input and the two parts of each block."""
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of attention weights dropped."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial weights."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"`dim` = {self.dim} must be a multiple of `heads` = {self.heads}")
        return self


@dataclass(frozen=True)
class GptState:
    """What has been read and written of the item that is being generated."""

    stack: CausalState
    states: Tensor
    """State after the last token, `[batch, beam, dim]`."""


class Gpt(nn.Module):
    """GPT-2 over packed rows: a start token, then the tokens of each item; it writes the tokens of the next item one by one."""

    def __init__(self, config: GptRecConfig, *, table: Tensor, sizes: list[int]) -> None:
        """`table` int64 `[item, level]`: the tokens of each item, below `sizes` of their level."""
        super().__init__()
        self.config = config
        self.levels = len(sizes)
        self.tokens = CodeSets(table, sizes, config.dim)
        self.positions = nn.Embedding((config.max_history + 1) * self.levels + 1, config.dim)
        self.begin = nn.Parameter(torch.empty(config.dim).normal_(std=config.init_std))
        self.dropout = Dropout(config.dropout)
        self.stack = CausalStack(
            dim=config.dim,
            layers=config.layers,
            heads=config.heads,
            hidden=config.hidden,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
        )
        self.apply(partial(initialise_normal, std=config.init_std))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy per token over all positions; 0 for a batch without events."""
        batch = batch.known()
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history + 1)
        items = batch.items[kept]
        if not len(items):
            return self.begin.sum() * 0
        tokens, longer = self._read(items, offsets)
        states = self.stack(self.dropout(tokens), longer)
        first = offsets * self.levels + torch.arange(len(offsets), device=offsets.device)
        places = first[row_ids(offsets, tokens=len(items))] + positions(offsets, tokens=len(items)) * self.levels
        targets = self.tokens.codes(items)
        losses = [
            fused_cross_entropy(states[places + level], vectors, targets[:, level].contiguous())
            for level, vectors in enumerate(self.tokens.by_level())
        ]
        return torch.stack(losses).mean()

    def prefill(self, batch: HistoryBatch) -> GptState:
        """Read the last `max_history` items of each row."""
        batch = batch.known()
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        last, stack = self.stack.start(*self._read(batch.items[kept], offsets))
        return GptState(stack, last[:, None])

    def step(self, state: GptState, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, GptState]:
        """Logits over the tokens of `level`, `[batch, beam, size]`."""
        if last is not None:
            place = self.positions(state.stack.real.sum(1) + level - 1)
            written = self.tokens.vectors(last + self.tokens.borders[level - 1]) + place[:, None]
            hidden, stack = self.stack.step(written, state.stack, parents)
            state = GptState(stack, hidden)
        return F.linear(state.states, self.tokens.by_level()[level]), state

    def _read(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Embedded rows, a start token and then the tokens of each item, `[token, dim]`; and their offsets."""
        longer = offsets_from(offsets.diff() * self.levels + 1)
        vectors = self.tokens.vectors(self.tokens.numbers[items].flatten())
        tokens = inserted(vectors, self.begin.expand(len(offsets) - 1, -1), longer[:-1])
        return tokens + self.positions(positions(longer, tokens=len(tokens))), longer


class GptRecCodes(Gpt):
    """Reads a history as the tokens of its items behind a start token and writes the tokens of the next item, each given those before it.

    The stack is GPT-2's: layer norm before each part, learned positions of tokens, input and output share the vectors. Sub-item tokens come
    from an item tokenizer; the paper's is `svd`. An item is answered by beam search over its tokens.

    Deviations from the paper: a token competes with those of its level, not with all; an item's tokens are given weight by search within
    the catalogue, so no invalid item is written; every position of a history is trained, with a start token for the empty one.
    """

    Config: ClassVar[type[Config]] = GptRecConfig
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: GptRecConfig, *, codes: ItemCodes) -> None:
        table = torch.as_tensor(codes.table, dtype=torch.int64)
        super().__init__(config, table=table, sizes=[int(size) for size in codes.sizes])


class GptRec(Gpt):
    """GPTRec with one token per item: scores the whole catalogue, and writes slates by the paper's Next-K strategy.

    Next-K: the item written last joins the history, and the next one is chosen given it; nothing has to be trained for that. Each slot of a
    slate reads the history anew, at the cost of one answer.
    """

    Config: ClassVar[type[Config]] = GptRecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: GptRecConfig, *, items: int) -> None:
        super().__init__(config, table=torch.arange(items)[:, None], sizes=[items])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        if not len(batch):
            return self.begin.new_zeros(0, len(self.tokens.numbers))
        return self.step(self.prefill(batch), 0, None, None)[0][:, 0]

    def open_slate(self, batch: HistoryBatch, size: int, generator: torch.Generator | None) -> HistoryBatch:
        """The histories themselves; nothing about a slate as a whole is random."""
        return batch

    def slot(self, state: HistoryBatch, chosen: Tensor) -> Tensor:
        """Logits over the catalogue for the next slot, `[batch, item]`, after the history and the items `chosen` so far."""
        rows, filled = chosen.shape
        ends = state.offsets[1:] + torch.arange(rows, device=chosen.device) * filled
        places = ends[:, None] + torch.arange(filled, device=chosen.device)
        offsets = state.offsets + torch.arange(rows + 1, device=chosen.device) * filled
        return self.score(HistoryBatch(inserted(state.items, chosen.flatten(), places.flatten()), offsets))
