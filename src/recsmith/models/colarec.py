"""ColaRec: content and collaborative signals in one generator of graph-based ids (Wang et al., CIKM 2024, arXiv:2403.18480)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories, ItemCodes
from recsmith.errors import ConfigError
from recsmith.nn.code_sets import CodeSets
from recsmith.nn.graph import InteractionGraph
from recsmith.nn.t5 import DecoderState, Run, build_decoder, build_encoder, runs_of
from recsmith.nn.windows import Windows, run_places
from recsmith.protocols import HistoryBatch


class ColarecConfig(Config):
    """Size of the stacks, and the weights of the tasks."""

    dim: int = Field(96, ge=1)
    """Width of the embeddings and of both stacks."""
    heads: int = Field(4, ge=1)
    """Attention heads per layer."""
    head_dim: int = Field(24, ge=1)
    """Width of one head."""
    ff_dim: int = Field(256, ge=1)
    """Width of the feed-forward layers."""
    encoder_layers: int = Field(2, ge=1)
    """Layers of the encoder."""
    decoder_layers: int = Field(2, ge=1)
    """Layers of the decoder."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Probability of dropping a unit or an attention weight in training; people lose their token with it, so that strangers are met."""
    max_history: int = Field(20, ge=1)
    """Number of most recent items that are read."""
    user_tokens: int = Field(2_000, ge=1)
    """Buckets into which people are hashed, each with a vector."""
    neighbours: int = Field(8, ge=0)
    """People who had an item, at most, that are read beside its content in the indexing task."""
    index_items: int = Field(128, ge=1)
    """Targets of a batch, at most, whose items are indexed in a step, each with a random item beside it."""
    indexing: float = Field(1.0, ge=0)
    """Weight of the indexing task: content and people of an item to its id."""
    ranking: float = Field(0.1, ge=0)
    """Weight of the ranking loss: a person's state is nearer to the item that came next than to a random one (BPR)."""
    alignment: float = Field(0.1, ge=0)
    """Weight of the contrast: items with the same first codes have nearer states than others."""
    shared_levels: int = Field(1, ge=1)
    """First codes that two items must share to count as alike in that contrast."""
    position_buckets: int = Field(32, ge=2)
    """Buckets of relative positions."""
    position_distance: int = Field(64, ge=2)
    """Distance, in tokens, from which on all positions share the last bucket."""


@dataclass(frozen=True)
class ColarecState:
    """What the decoder keeps, and the number of tokens that each row has read."""

    decoder: DecoderState
    places: Tensor
    """int64 `[batch]`."""


class Colarec(nn.Module):
    """One encoder–decoder for two tasks: what a person has had → the id of the next item, and an item's content and people → its id.

    An id is the path in a tree of clusters of a graph model's item vectors, as the tokenizer `graph` makes it; content is the vector of the
    item's text. Of the person, the encoder reads a token of their bucket and then one per item: content and codes, added. Of an
    item, it reads people's tokens and then the content alone. Two losses tie the encoder's last states: BPR between people and
    items, and a contrast between items whose ids begin alike and others.

    Deviations: an item's content is one token, made of a frozen text encoder's vector, where the paper reads its words and those of
    people's items with a T5; the encoder is causal, so that one pass serves all targets of a history, and a state is that of the last
    token; the stacks are small and learn from scratch.
    """

    Config: ClassVar[type[Config]] = ColarecConfig
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors",)

    vectors: Tensor

    def __init__(self, config: ColarecConfig, *, codes: ItemCodes, vectors: np.ndarray) -> None:
        super().__init__()
        if config.shared_levels > codes.levels:
            raise ConfigError(f"`model.shared_levels` = {config.shared_levels} of {codes.levels} codes; allowed: 1 to {codes.levels}")
        self.config = config
        self.sizes = tuple(int(size) for size in codes.sizes)
        self.codes = CodeSets(torch.as_tensor(codes.table, dtype=torch.int64), self.sizes, config.dim)
        self.register_buffer("vectors", F.normalize(torch.as_tensor(vectors, dtype=torch.float32), dim=1) * vectors.shape[1] ** 0.5)
        self.content = nn.Linear(vectors.shape[1], config.dim)
        self.people = nn.Embedding(config.user_tokens, config.dim)
        self.tasks = nn.Embedding(2, config.dim)
        self.begin = nn.Parameter(torch.zeros(config.dim))
        self.positions = nn.Embedding(max(config.max_history, config.neighbours + 1) + 2, config.dim)
        self.encoder, self.decoder = build_encoder(config, bidirectional=False), build_decoder(config)
        self.graph = InteractionGraph()
        nn.init.normal_(self.codes.vectors.weight, std=1.0)

    def observe(self, histories: Histories) -> None:
        """Take in who had what in training (row = person)."""
        known = histories.where(histories.values >= 0)
        self.graph.set(torch.from_numpy(known.values.copy()), torch.from_numpy(known.offsets.copy()))

    # ---- learning ----

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Cross-entropy per code of the next items and of indexed items, the ranking loss and the contrast; 0 when no row has a target."""
        batch = batch.known()
        windows = Windows.shared(batch.offsets, longest=self.config.max_history, which="all")
        if not len(windows):
            return self.codes.vectors.weight.sum() * 0.0
        targets, read = batch.items[windows.target_events()], self._read(batch, windows)
        runs = runs_of(windows, queries=len(self.sizes))
        loss = self._code_loss(read, runs, targets, windows.places_of_targets())
        weights = (self.config.indexing, self.config.ranking, self.config.alignment)
        if not any(weights):
            return loss
        indexed = targets.unique()
        indexed = indexed[torch.randperm(len(indexed), device=indexed.device)[: self.config.index_items]]
        items = torch.cat([indexed, torch.randint(len(self.vectors), (len(indexed),), device=indexed.device)])
        index_loss, states = self.index(items)
        people = read[_last_tokens(windows)]
        terms = (index_loss, self.ranking_loss(people, targets, items, states), self.alignment_loss(items, states))
        return loss + sum(weight * term for weight, term in zip(weights, terms, strict=True))

    def index(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """The indexing task for `items` int64 `[n]`: mean cross-entropy per code, and the encoder's last state of each, `[n, dim]`."""
        people, counts = self._people_of(items)
        order = counts.argsort(stable=True)
        lengths = 2 + counts[order]
        ends = lengths.cumsum(0)
        tokens = self.begin.new_empty(int(ends[-1]), self.config.dim)
        own = torch.zeros(len(tokens), dtype=torch.bool, device=items.device)
        own[ends - 1] = own[ends - lengths] = True
        tokens = tokens.index_put((ends - lengths,), self.tasks.weight[1].expand(len(items), -1))
        tokens = tokens.index_put((ends - 1,), self._content(items[order]))
        sorted_people = (counts.cumsum(0) - counts)[order].repeat_interleave(counts[order]) + run_places(counts[order])
        tokens = tokens.index_put(((~own).nonzero()[:, 0],), self.people(people[sorted_people]))
        shapes = torch.stack(torch.unique_consecutive(lengths, return_counts=True), 1).tolist()
        runs = [Run(count, length, len(self.sizes)) for length, count in shapes]
        states = self._encode(tokens, lengths, runs)
        loss = self._code_loss(states, runs, items[order], lengths)
        return loss, states[ends - 1][order.argsort()]

    def ranking_loss(self, people: Tensor, targets: Tensor, items: Tensor, states: Tensor) -> Tensor:
        """BPR: states of `people` `[target, dim]` with those of their targets, against the random item beside; `items` as in `loss`."""
        half = len(items) // 2
        place = torch.full((len(self.vectors),), -1, device=items.device).scatter(0, items[:half], torch.arange(half, device=items.device))
        at = place[targets]
        kept = (at >= 0) & (items[half + at] != targets)
        ahead = (people[kept] * (states[at[kept]] - states[half + at[kept]])).sum(1) * self.config.dim**-0.5
        return -F.logsigmoid(ahead).sum() / kept.sum().clamp(min=1)

    def alignment_loss(self, items: Tensor, states: Tensor) -> Tensor:
        """−log σ(an item's likeness to one with the same first codes, less that to one with others), both drawn among `items`."""
        first = self.codes.numbers[items, : self.config.shared_levels]
        same = (first[:, None] == first[None]).all(2)
        alike = same & (items[:, None] != items[None])
        kept = alike.any(1) & (~same).any(1)
        if not kept.any():
            return states.sum() * 0.0
        friend = torch.multinomial(alike[kept].float(), 1)[:, 0]
        stranger = torch.multinomial((~same[kept]).float(), 1)[:, 0]
        ahead = (states[kept] * (states[friend] - states[stranger])).sum(1) * self.config.dim**-0.5
        return -F.logsigmoid(ahead).mean()

    # ---- answers ----

    def prefill(self, batch: HistoryBatch) -> ColarecState:
        """Read the last `max_history` items of each row."""
        batch = batch.known()
        windows = Windows.tails(batch.offsets, longest=self.config.max_history)
        packed, lengths = self._read(batch, windows), 1 + windows.inputs
        return ColarecState(self.decoder.start(*windows.padded(packed, lengths)), lengths[windows.rows.argsort()])

    def step(self, state: ColarecState, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, ColarecState]:
        """Logits over the codes of `level`, `[batch, beam, size]`."""
        if last is None:
            tokens = (self.begin + self.positions(state.places))[:, None]
        else:
            tokens = self.codes.vectors(last + self.codes.borders[level - 1])
        hidden, decoder = self.decoder.step(tokens, state.decoder, parents)
        return self._logits(hidden, level), ColarecState(decoder, state.places)

    # ---- inside ----

    def _read(self, batch: HistoryBatch, windows: Windows) -> Tensor:
        """States of all windows, `[token, dim]`: who it is, then one token per item read, each seeing itself and what came before."""
        lengths = 1 + windows.inputs
        first = lengths.cumsum(0) - lengths
        items = batch.items[windows.input_events()]
        rest = torch.ones(int(lengths.sum()), dtype=torch.bool, device=lengths.device)
        rest[first] = False
        tokens = self.begin.new_empty(len(rest), self.config.dim)
        tokens = tokens.index_put((first,), self._persons(batch.users, windows.rows))
        tokens = tokens.index_put((rest.nonzero()[:, 0],), self.codes(items) + self._content(items))
        return self._encode(tokens, lengths, runs_of(windows))

    def _content(self, items: Tensor) -> Tensor:
        """What the texts of items say, `[n, dim]`; float32 also where products are not."""
        return self.content(self.vectors[items]).float()

    def _encode(self, tokens: Tensor, lengths: Tensor, runs: list[Run]) -> Tensor:
        places = torch.arange(int(lengths.max()), device=lengths.device)
        return self.encoder(tokens + self.positions(run_places(lengths)), runs, places[None, :] <= places[:, None])

    def _persons(self, users: Tensor | None, rows: Tensor) -> Tensor:
        """First token of each window, `[window, dim]`: the task, and the person's bucket where they are known."""
        task = self.tasks.weight[0].expand(len(rows), -1)
        if users is None:
            return task
        user = users[rows]
        known = user >= 0
        if self.training:
            known = known & (torch.rand(len(rows), device=rows.device) >= self.config.dropout)
        return task + self.people(user.clamp(min=0) % self.config.user_tokens) * known[:, None]

    def _people_of(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Buckets of some people who had each item, drawn anew each time, packed `[person]`; and how many each item has, int64 `[n]`."""
        everybody, offsets = self.graph.by_item(len(self.vectors))
        had = offsets.diff()[items]
        counts = had.clamp(max=self.config.neighbours)
        share = torch.rand(int(counts.sum()), device=items.device)
        edges = (share * had.repeat_interleave(counts)).long() + offsets[items].repeat_interleave(counts)
        return everybody[edges] % self.config.user_tokens, counts

    def _code_loss(self, read: Tensor, runs: list[Run], targets: Tensor, places: Tensor) -> Tensor:
        """Mean cross-entropy per code of `targets` `[target]`, which see `places` `[target]` tokens each."""
        inputs = self.codes.vectors(self.codes.numbers[targets][:, :-1])
        begin = self.begin + self.positions(places)
        hidden = self.decoder(torch.cat([begin[:, None], inputs], 1), read, runs)
        codes = self.codes.codes(targets)
        losses = [F.cross_entropy(self._logits(hidden[:, level], level).float(), codes[:, level]) for level in range(len(self.sizes))]
        return torch.stack(losses).mean()

    def _logits(self, hidden: Tensor, level: int) -> Tensor:
        return F.linear(hidden * self.config.dim**-0.5, self.codes.by_level()[level])


def _last_tokens(windows: Windows) -> Tensor:
    """Packed index of the last token that each target sees; int64 `[target]`."""
    lengths = 1 + windows.inputs
    starts = (lengths.cumsum(0) - lengths).repeat_interleave(windows.targets)
    return starts + windows.places_of_targets() - 1
