"""Content k-NN: the items most like what somebody had, by the vectors of their texts (LLMSeqSim: Harte et al., RecSys 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.nn.history_weights import attention_weights, recency_weights, weighted_sum
from recsmith.nn.item_vectors import ItemVectors
from recsmith.nn.packed import last_index, reversed_positions, tail_index
from recsmith.protocols import HistoryBatch

_CELLS = 1 << 23
"""Most similarities of single events held at a time."""


class ContentKnnConfig(Config):
    """How a history becomes a question to the items' vectors."""

    pooling: Literal["recency", "attention", "nearest"] = "recency"
    """recency: a fading mean of the events; attention: events like the last one count more; nearest: the best single event counts."""
    fade: float = Field(0.8, ge=0, le=1)
    """Weight of an event relative to the event after it; 1: all alike, 0: the last event alone (not used by attention)."""
    temperature: float = Field(0.1, gt=0)
    """Divisor of the cosines that attention weighs events by; smaller: fewer events count."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""


class ContentKnn(nn.Module):
    """An item's score is the cosine of its vector with that of the history: nothing is learned from events.

    Papers: the baseline of content-based retrieval; with vectors of a language model, LLMSeqSim (Harte et al., "Leveraging large language
    models for sequential recommendation", RecSys 2023, arXiv:2309.09261), whose fading means are `pooling = "recency"`.

    Deviations from LLMSeqSim: events fade geometrically alone (the paper also tries linear and harmonic falls); `attention` and
    `nearest` (one interest per event) are ours. Items without text share one vector and hence one score.
    """

    Config: ClassVar[type[ContentKnnConfig]] = ContentKnnConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["closed-form"]] = "closed-form"
    reads: ClassVar[tuple[str, ...]] = ("vectors",)
    inductive: ClassVar[bool] = True

    def __init__(self, config: ContentKnnConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.items = ItemVectors(normalize(torch.as_tensor(vectors, dtype=torch.float32), dim=1))

    def solve(self, histories: Histories) -> None:
        """Nothing: the vectors say it all."""

    def score(self, batch: HistoryBatch) -> Tensor:
        """Cosines `[batch, item]`, 0 for empty rows."""
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        items = batch.items[kept]
        if self.config.pooling == "nearest":
            return self._nearest(items, offsets)
        vectors = self.items(items)
        if self.config.pooling == "attention":
            queries = vectors.new_zeros(len(batch), self.items.dim)
            last = last_index(offsets)
            queries[last >= 0] = vectors[last[last >= 0]]
            weights = attention_weights(vectors, queries, offsets, temperature=self.config.temperature)
        else:
            weights = recency_weights(offsets, tokens=len(items), fade=self.config.fade)
        return _rounded(normalize(weighted_sum(vectors, weights, offsets), dim=1) @ self.items.values.T)

    def _nearest(self, items: Tensor, offsets: Tensor) -> Tensor:
        """The greatest faded cosine of any single event, `[batch, item]`."""
        ages = reversed_positions(offsets, tokens=len(items)).float()
        weights = torch.as_tensor(self.config.fade, device=ages.device) ** ages
        vectors = self.items(items) * weights[:, None]
        scores = vectors.new_zeros(len(offsets) - 1, len(self.items.values))
        for rows, tokens in _portions(offsets, most=max(1, _CELLS // len(self.items.values))):
            similar = vectors[tokens] @ self.items.values.T
            for row, events in zip(range(rows.start, rows.stop), similar.split(offsets[rows.start : rows.stop + 1].diff().tolist())):
                if len(events):
                    scores[row] = events.amax(0)
        return _rounded(scores)


def _rounded(cosines: Tensor) -> Tensor:
    """To multiples of 2⁻¹⁶: cosines that are equal on paper hardly ever differ, whatever batch they were computed in."""
    return (cosines * 2**16).round() / 2**16


def _portions(offsets: Tensor, *, most: int) -> Iterator[tuple[slice, slice]]:
    """Runs of rows with their events, about `most` events (or one row) at a time."""
    ends = offsets.tolist()
    start = 0
    while start < len(ends) - 1:
        stop = start + 1
        while stop < len(ends) - 1 and ends[stop + 1] - ends[start] <= most:
            stop += 1
        yield slice(start, stop), slice(ends[start], ends[stop])
        start = stop
