"""DNNTSP: the next set out of a graph of what a person takes together and attention along each item's own history (Yu et al., 2020)."""

from __future__ import annotations

from math import log
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.attention import CausalSelfAttention
from recsmith.nn.baskets import BasketConfig, PackedBaskets, training_baskets
from recsmith.nn.dropout import Dropout
from recsmith.nn.packed import Plan, offsets_from, reversed_positions, row_ids
from recsmith.protocols import HistoryBatch


class DnntspConfig(BasketConfig):
    """Sizes and regularisation of DNNTSP."""

    layers: int = Field(2, ge=1)
    """Graph convolutions inside a basket."""
    heads: int = Field(4, ge=1)
    """Heads of the attention along time; must divide `dim`."""
    ages: int = Field(32, ge=1)
    """Ages of a basket, counted in baskets from the end, that are told apart; older ones count as the oldest."""

    @model_validator(mode="after")
    def _heads_divide(self) -> DnntspConfig:
        if self.dim % self.heads:
            raise ValueError(f"`dim` = {self.dim} must be a multiple of `heads` = {self.heads}")
        return self


class Dnntsp(nn.Module):
    """Items in a basket exchange vectors, weighted by how often the person took them together; attention runs along the baskets that hold
    an item; a gate per item blends what comes out with the item's static vector; one linear layer scores the vectors.

    Paper: Yu, Sun, Du, Liu, Xiong & Lv, "Predicting Temporal Sets with Deep Neural Networks", KDD 2020. Loss: binary cross-entropy over
    the catalogue. As in the paper, an item that the person never took keeps its static vector, so that its score is the same for everybody,
    and the items of a basket are independent given the past: a slate takes the same logits at every slot.

    Deviations: an item has a vector only at the baskets that hold it, with a learned code of their age, where the paper gives it one at
    every basket; the mean over a basket counts an item's own weight by how often the person took it; one basket drawn per history and
    step is predicted from those before it, where the paper predicts the last.
    """

    Config: ClassVar[type[Config]] = DnntspConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: DnntspConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.convolutions = nn.ModuleList(nn.Linear(config.dim, config.dim) for _ in range(config.layers))
        self.ages = nn.Embedding(config.ages, config.dim)
        self.attention = CausalSelfAttention(dim=config.dim, heads=config.heads)
        self.weigh = nn.Linear(config.dim, 1)
        self.gate = nn.Parameter(torch.zeros(items))
        self.out = nn.Linear(config.dim, 1)
        self.bias = nn.Parameter(torch.full((items,), -log(items)))  # baskets are small: nearly all items are absent
        self.dropout = Dropout(config.dropout)
        nn.init.normal_(self.items.weight, std=config.init_std)
        nn.init.normal_(self.ages.weight, std=config.init_std)

    def forward(self, baskets: PackedBaskets) -> Tensor:
        """The score of every item after the last basket of each row, `[row, item]`."""
        static = self.out(self.items.weight)[:, 0] + self.bias
        scores = static.repeat(len(baskets.offsets) - 1, 1)
        if not len(baskets):
            return scores
        rows, items, dynamic = self._along_time(self._inside_baskets(baskets), baskets)
        gates = self.gate.sigmoid()[items]
        blended = (1 - gates) * static[items] + gates * self.out(dynamic)[:, 0].to(static.dtype)
        return scores.index_put((rows, items), blended)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Binary cross-entropy of a drawn basket over the catalogue, summed over items, mean over rows; 0 for a batch without events."""
        baskets = training_baskets(batch, self.config, items=len(self.bias))
        if not len(baskets):
            return self.bias.sum() * 0
        before, targets = baskets.cut()
        wanted = torch.zeros(len(batch), len(self.bias), device=batch.items.device)
        wanted[targets.rows[targets.basket_of_token], targets.items] = 1.0
        there = batch.offsets.diff() > 0
        return functional.binary_cross_entropy_with_logits(self(before)[there].float(), wanted[there], reduction="sum") / there.sum()

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: logit of each item's standing in the next basket."""
        config = self.config
        return self(PackedBaskets.of(batch, items=len(self.bias), seconds=config.basket_seconds, longest=config.max_history))

    def open_slate(self, batch: HistoryBatch, size: int, generator: torch.Generator | None) -> Tensor:
        """The logits, `[batch, item]`."""
        return self.score(batch)

    def slot(self, state: Tensor, chosen: Tensor) -> Tensor:
        """`[batch, item]`: the same at every slot."""
        return state

    def _inside_baskets(self, baskets: PackedBaskets) -> Tensor:
        """Vectors of the items of each basket after the graph convolutions, `[token, dim]`."""
        first, second = _pairs(baskets)
        weights = self._together(first, second, baskets)
        total = weights.new_zeros(len(baskets.items)).index_add(0, first, weights)
        shares = (weights / total[first])[:, None]
        vectors = self.dropout(self.items(baskets.items))
        for convolution in self.convolutions:
            mixed = torch.zeros_like(vectors).index_add(0, first, vectors[second] * shares.to(vectors.dtype))
            vectors = convolution(mixed).relu().to(vectors.dtype)
        return vectors

    def _together(self, first: Tensor, second: Tensor, baskets: PackedBaskets) -> Tensor:
        """How many baskets of the person hold both items of a pair, float32 `[pair]`."""
        items = len(self.bias)
        rows = baskets.rows[baskets.basket_of_token[first]]
        keys = (rows * items + baskets.items[first]) * items + baskets.items[second]
        _, group, counts = torch.unique(keys, return_inverse=True, return_counts=True)
        return counts[group].float()

    def _along_time(self, vectors: Tensor, baskets: PackedBaskets) -> tuple[Tensor, Tensor, Tensor]:
        """Row, item and vector `[thread, dim]` of every item that a person took; a thread is the baskets of one row that hold the item."""
        catalogue = len(self.bias)
        keys = baskets.rows[baskets.basket_of_token] * catalogue + baskets.items
        order = keys.argsort(stable=True)  # tokens are in order of time, and so they stay inside a thread
        threads, lengths = keys[order].unique_consecutive(return_counts=True)
        offsets = offsets_from(lengths)
        ages = reversed_positions(baskets.offsets, tokens=len(baskets)).clamp(max=self.config.ages - 1)[baskets.basket_of_token]
        tokens = (vectors + self.ages(ages))[order]
        tokens = tokens + self.dropout(self.attention(tokens, Plan.of(offsets)))
        weighed = tokens * self.weigh(tokens)
        summed = torch.zeros(len(threads), vectors.shape[1], device=vectors.device, dtype=weighed.dtype)
        summed = summed.index_add(0, row_ids(offsets, tokens=len(tokens)), weighed)
        return threads // catalogue, threads % catalogue, summed


def _pairs(baskets: PackedBaskets) -> tuple[Tensor, Tensor]:
    """Every ordered pair of items of one basket, an item with itself included, as two indices of tokens, int64 `[pair]`."""
    sizes = baskets.bounds.diff()[baskets.basket_of_token]
    first = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    place = torch.arange(len(first), device=sizes.device) - (sizes.cumsum(0) - sizes)[first]
    return first, baskets.bounds[:-1][baskets.basket_of_token[first]] + place
