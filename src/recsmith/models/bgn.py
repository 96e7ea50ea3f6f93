"""BGN: bundles generated item by item, with a softmax over what the items are (Bai et al., 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.baskets import BasketConfig, BasketReader, PackedBaskets, training_baskets
from recsmith.nn.history_weights import attention_weights, weighted_sum
from recsmith.nn.packed import positions
from recsmith.protocols import HistoryBatch


class BgnConfig(BasketConfig):
    """Sizes and regularisation of BGN."""

    hidden: int = Field(64, ge=1)
    """Width of the states of encoder and decoder, and of the network over item features."""
    bundle: int = Field(8, ge=1)
    """Items of a basket that are generated in training, at most; of larger baskets so many are drawn. Answers may be longer."""


@dataclass(frozen=True)
class Opened:
    """What the decoder has of each row."""

    states: Tensor
    """State of the decoder before the first item, `[row, hidden]`."""
    memory: Tensor
    """Vectors of the items in the history, `[token, dim]`."""
    offsets: Tensor
    """Row r has the memory `offsets[r]` to `offsets[r + 1]`; int64 `[row + 1]`."""
    table: Tensor
    """Output vectors of the catalogue, `[item, dim]`."""


class Bgn(nn.Module):
    """A recurrent encoder of past baskets, a recurrent decoder that attends to the items of the history and writes a bundle item by item,
    and the feature-aware softmax: output vectors are a network's image of the items' features, the same for input, memory and output.

    Paper: Bai, Zhou, Song, Qu, An, Li & Gao, "Personalized Bundle List Recommendation", WWW 2019. What was written is masked, in training
    and in answers. `score` are the logits of the first item.

    Deviations: the features of an item are its learned vector alone; a basket has no order, so one is drawn anew at every step; one
    basket drawn per history and step is the bundle to learn; what is attended to is added to the output, so that
    repeating need not be learned first; full softmax in place of the sampled one. Lists of several bundles, which the paper picks for
    diversity by a determinantal point process out of a beam search, are not built: one bundle answers.
    """

    Config: ClassVar[type[Config]] = BgnConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: BgnConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.reader = BasketReader(config, items=items, hidden=config.hidden)
        self.start = nn.Parameter(torch.zeros(config.hidden))
        self.features = nn.Sequential(nn.Linear(config.dim, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.dim))
        self.cell = nn.GRUCell(config.dim, config.hidden)
        self.ask = nn.Linear(config.hidden, config.dim)
        self.out = nn.Linear(config.hidden + config.dim, config.dim)
        self.bias = nn.Parameter(torch.zeros(items))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy of the items of a drawn basket, each given those written before; 0 for a batch without events."""
        baskets = training_baskets(batch, self.config, items=len(self.bias))
        if not len(baskets):
            return self.bias.sum() * 0
        before, targets = baskets.cut()
        bundles = shuffled(targets, size=self.config.bundle)
        opened = self._open(before)
        states, losses = opened.states, []
        for place, items in enumerate(bundles.unbind(1)):
            there = items >= 0
            logits = self._logits(states, opened).scatter(1, bundles[:, :place].clamp(min=0), -torch.inf)
            losses.append(functional.cross_entropy(logits[there].float(), items[there], reduction="sum"))
            states = self.cell(opened.table[items.clamp(min=0)], states)
        return torch.stack(losses).sum() / (bundles >= 0).sum()

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the logits of the first item of the next bundle."""
        opened = self.open_slate(batch, 1, None)
        return self._logits(opened.states, opened)

    def open_slate(self, batch: HistoryBatch, size: int, generator: torch.Generator | None) -> Opened:
        """What the decoder begins with."""
        return self._open(self.reader.baskets(batch))

    def slot(self, state: Opened, chosen: Tensor) -> Tensor:
        """Logits of the next item, `[batch, item]`."""
        states = state.states
        for items in chosen.unbind(1):
            states = self.cell(state.table[items], states)
        return self._logits(states, state)

    def _open(self, baskets: PackedBaskets) -> Opened:
        vectors = self.reader.items.weight
        table = vectors + self.features(vectors)
        states = self.reader(baskets) if len(baskets) else self.start.new_zeros(0, len(self.start))
        return Opened(baskets.after(states, self.start), self.reader.dropout(table[baskets.items]), baskets.tokens_of_rows, table)

    def _logits(self, states: Tensor, opened: Opened) -> Tensor:
        """Of every item, `[row, item]`, from the decoder's states `[row, hidden]`."""
        temperature = opened.memory.shape[1] ** 0.5
        weights = attention_weights(opened.memory, self.ask(states), opened.offsets, temperature=temperature)
        context = weighted_sum(opened.memory, weights, opened.offsets)
        wanted = context + self.out(torch.cat([self.reader.dropout(states), context], 1))
        return wanted @ opened.table.T + self.bias


def shuffled(baskets: PackedBaskets, *, size: int) -> Tensor:
    """The items of rows of at most one basket in random order, int64 `[row, size]`; -1 behind the last; what is beyond `size` is left out.

    Draws from torch's default generator.
    """
    offsets = baskets.tokens_of_rows
    rows = baskets.rows[baskets.basket_of_token]
    order = torch.argsort(rows + torch.rand(len(rows), dtype=torch.float64, device=rows.device))
    places = positions(offsets, tokens=len(rows))
    kept = places < size
    bundles = torch.full((len(offsets) - 1, size), -1, dtype=torch.int64, device=rows.device)
    bundles[rows[kept], places[kept]] = baskets.items[order][kept]
    return bundles
