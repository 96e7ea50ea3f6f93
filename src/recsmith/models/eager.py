"""EAGER: one reader and two writers, of behaviour codes and of semantic codes (Wang et al., KDD 2024, arXiv:2406.14017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import ItemCodes
from recsmith.errors import ConfigError
from recsmith.nn.code_sets import CodeSets
from recsmith.nn.t5 import DecoderState, build_decoder, build_encoder, runs_of
from recsmith.nn.windows import Windows, run_places
from recsmith.protocols import HistoryBatch


class EagerConfig(Config):
    """Size of the stacks, and which codes belong to which stream."""

    behaviour_levels: int = Field(2, ge=1)
    """How many of the first codes are behaviour codes; the others, with the collision level, are semantic codes."""
    dim: int = Field(96, ge=1)
    """Width of the embeddings and of the three stacks (paper: 96)."""
    heads: int = Field(4, ge=1)
    """Attention heads per layer (paper: 6)."""
    head_dim: int = Field(24, ge=1)
    """Width of one head."""
    ff_dim: int = Field(256, ge=1)
    """Width of the feed-forward layers."""
    encoder_layers: int = Field(1, ge=1)
    """Layers of the reader (paper: 1)."""
    decoder_layers: int = Field(2, ge=1)
    """Layers of each writer (paper: 4)."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Probability of dropping a unit or an attention weight in training."""
    max_history: int = Field(20, ge=1)
    """Number of most recent items that are read."""
    contrast: float = Field(0.1, ge=0)
    """Weight of the contrast between what the semantic writer ends with and the item's vector; 0 leaves it out."""
    temperature: float = Field(0.1, gt=0)
    """Divisor of the cosines in that contrast."""
    position_buckets: int = Field(32, ge=2)
    """Buckets of relative positions."""
    position_distance: int = Field(64, ge=2)
    """Distance, in items, from which on all positions share the last bucket."""


@dataclass(frozen=True)
class EagerState:
    """The states of both writers; the semantic one is untouched until the behaviour codes are written."""

    behaviour: DecoderState
    semantic: DecoderState
    places: Tensor
    """Place of the item that is written, counted from 1, int64 `[batch]`."""


class Eager(nn.Module):
    """A reader of item vectors (means of all codes' vectors) and two writers that attend to it, neither of which sees the other's codes.

    An item's id is its behaviour codes and then its semantic codes, as the tokenizer `hybrid` makes them. Its probability is the product
    of what the two streams give it, so an item must convince both; the paper's confidence-based ranking adds up the streams'
    log-probabilities in the same way. One search over the whole id keeps both streams inside the catalogue.

    Beside the codes, the state of the semantic writer after its last code is contrasted with the vectors of the targets of the batch (the
    paper's global contrastive task). Deviations: candidates come from one search over both streams instead of one search each; the
    behaviour stream has no such contrast, having no vectors; the semantic-guided transfer task is left out; the reader is causal, so
    that one pass serves all targets of a history, and places are learned; blocks are T5's; the size is a CPU's.
    """

    Config: ClassVar[type[Config]] = EagerConfig
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors",)

    vectors: Tensor

    def __init__(self, config: EagerConfig, *, codes: ItemCodes, vectors: np.ndarray) -> None:
        super().__init__()
        if not config.behaviour_levels < codes.levels:
            raise ConfigError(
                f"`model.behaviour_levels` = {config.behaviour_levels} leaves no semantic codes of {codes.levels}; "
                f"allowed: 1 to {codes.levels - 1}, the levels of the tokenizer's first part"
            )
        self.config = config
        self.sizes = tuple(int(size) for size in codes.sizes)
        self.items = CodeSets(torch.as_tensor(codes.table, dtype=torch.int64), self.sizes, config.dim)
        self.register_buffer("vectors", F.normalize(torch.as_tensor(vectors, dtype=torch.float32), dim=1))
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.begin = nn.Parameter(torch.zeros(2, config.dim))
        self.positions = nn.Embedding(config.max_history + 2, config.dim)
        self.encoder = build_encoder(config, bidirectional=False)
        self.behaviour, self.semantic = build_decoder(config), build_decoder(config)
        self.summary = nn.Linear(config.dim, self.vectors.shape[1])
        nn.init.normal_(self.items.vectors.weight, std=1.0)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy per code over all targets, plus `contrast` × that of the vectors; 0 when no row has a target."""
        batch = batch.known()
        windows = Windows.shared(batch.offsets, longest=self.config.max_history, which="all")
        if not len(windows):
            return self.items.vectors.weight.sum() * 0.0
        items = batch.items[windows.target_events()]
        targets, numbers, cut = self.items.codes(items), self.items.numbers[items], self.config.behaviour_levels
        read, begin = self._read(batch, windows), self._begin(windows.places_of_targets())
        first = self.behaviour(self._inputs(begin[0], numbers[:, : cut - 1]), read, runs_of(windows, queries=cut))
        runs = runs_of(windows, queries=len(self.sizes) - cut + 1)
        second = self.semantic(self._inputs(begin[1], numbers[:, cut:]), read, runs)
        states = torch.cat([first, second[:, :-1]], 1)
        losses = [F.cross_entropy(self._logits(states[:, level], level).float(), targets[:, level]) for level in range(len(self.sizes))]
        loss = torch.stack(losses).mean()
        return loss + self.config.contrast * self._contrast(second[:, -1], items) if self.config.contrast else loss

    def prefill(self, batch: HistoryBatch) -> EagerState:
        """Read the last `max_history` items of each row."""
        batch = batch.known()
        windows = Windows.tails(batch.offsets, longest=self.config.max_history)
        packed, lengths = self._read(batch, windows), 1 + windows.inputs
        read = windows.padded(packed, lengths)
        behaviour, semantic = (writer.start(*read) for writer in (self.behaviour, self.semantic))
        return EagerState(behaviour, semantic, lengths[windows.rows.argsort()])

    def step(self, state: EagerState, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, EagerState]:
        """Logits over the codes of `level`, `[batch, beam, size]`."""
        cut = self.config.behaviour_levels
        if last is None:
            tokens = self._begin(state.places)[0][:, None]
        elif level == cut:  # the semantic writer begins anew on every beam
            tokens, parents = self._begin(state.places)[1][:, None].expand(-1, last.shape[1], -1), None
        else:
            tokens = self.items.vectors(last + self.items.borders[level - 1])
        if level < cut:
            hidden, behaviour = self.behaviour.step(tokens, state.behaviour, parents)
            return self._logits(hidden, level), EagerState(behaviour, state.semantic, state.places)
        hidden, semantic = self.semantic.step(tokens, state.semantic, parents)
        return self._logits(hidden, level), EagerState(state.behaviour, semantic, state.places)

    def _read(self, batch: HistoryBatch, windows: Windows) -> Tensor:
        """States of all windows, `[token, dim]`: a start token, then one token per item read, each seeing itself and what came before."""
        lengths = 1 + windows.inputs
        first = torch.zeros(int(lengths.sum()), dtype=torch.bool, device=lengths.device)
        first[lengths.cumsum(0) - lengths] = True
        read = self.items(batch.items[windows.input_events()])
        tokens = self.start.expand(len(first), -1).index_put(((~first).nonzero()[:, 0],), read)
        places = torch.arange(int(lengths.max()), device=lengths.device)
        tokens = tokens + self.positions(run_places(lengths))
        return self.encoder(tokens, runs_of(windows), places[None, :] <= places[:, None])

    def _begin(self, places: Tensor) -> Tensor:
        """Begin tokens of both writers for items at these places `[target]`; `[stream, target, dim]`."""
        return self.begin[:, None] + self.positions(places)

    def _inputs(self, begin: Tensor, numbers: Tensor) -> Tensor:
        """What a writer is fed: its begin tokens `[target, dim]` and the vectors of codes `[target, level]`."""
        return torch.cat([begin[:, None], self.items.vectors(numbers)], 1)

    def _logits(self, hidden: Tensor, level: int) -> Tensor:
        return F.linear(hidden * self.config.dim**-0.5, self.items.by_level()[level])

    def _contrast(self, hidden: Tensor, items: Tensor) -> Tensor:
        rivals, place = items.unique(return_inverse=True)
        written = F.normalize(self.summary(hidden).float(), dim=1)
        return F.cross_entropy(written @ self.vectors[rivals].T / self.config.temperature, place)
