"""Item-kNN: people who took this also took that; a sparse table of similar items (Sarwar 2001; Deshpande & Karypis 2004)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.nn.packed import reversed_positions, row_ids
from recsmith.protocols import HistoryBatch

_BLOCK = 2048
_ENTRIES = 4_000_000

Similarity = Literal["cosine", "conditional", "jaccard"]


class ItemKnnConfig(Config):
    """Settings of item-kNN."""

    similarity: Similarity = "jaccard"
    """jaccard: overlap over union; cosine; conditional: share of the people with the first item who have the second."""
    neighbours: int = Field(default=100, gt=0)
    """Similar items to keep for each item."""
    shrinkage: float = Field(default=20.0, ge=0)
    """Added to the denominator of a similarity, in people: draws similarities that rest on few people towards zero."""
    recency: float = Field(default=0.7, gt=0, le=1)
    """Weight of an event relative to the event after it, when answering; 1: all events of a history weigh the same."""


class ItemKnn(nn.Module):
    """An item's score is the sum of its similarities to the items of the history.

    Papers: Sarwar, Karypis, Konstan & Riedl, "Item-based collaborative filtering recommendation algorithms", WWW 2001; Deshpande &
    Karypis, "Item-based top-N recommendation algorithms", TOIS 2004. Each item keeps its `neighbours` most similar items; the
    similarities are computed in blocks of items and stay sparse, so memory is about `items × neighbours × 12` bytes.

    Deviations: similarities are shrunk, rows of people are not normalised by their length, and the events of a history may fade with
    their distance from its end (`recency`). An item counts once per person; in a history its most recent event counts.
    """

    Config: ClassVar[type[ItemKnnConfig]] = ItemKnnConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["closed-form"]] = "closed-form"
    starts: Tensor
    neighbours: Tensor
    similarities: Tensor

    def __init__(self, config: ItemKnnConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = items
        self.register_buffer("starts", torch.zeros(items + 1, dtype=torch.int64))
        self.register_buffer("neighbours", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("similarities", torch.zeros(0))

    def solve(self, histories: Histories) -> None:
        """Count the people whom items share and keep the nearest items of each."""
        matrix = _matrix(histories, self.items)
        table = sparse.vstack(list(_nearest_blocks(matrix, self.config)), format="csr")
        device = self.starts.device
        self.starts = torch.from_numpy(table.indptr.astype(np.int64)).to(device)
        self.neighbours = torch.from_numpy(table.indices.astype(np.int64)).to(device)
        self.similarities = torch.from_numpy(table.data.astype(np.float32)).to(device)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: similarities summed over the items of each history."""
        rows, items, weights = self._history(batch)
        scores = self.similarities.new_zeros(len(batch) * self.items)
        lengths = self.starts.diff()[items]
        for tokens in _portions(lengths):
            self._add(scores, rows[tokens], items[tokens], weights[tokens])
        return scores.view(len(batch), self.items)

    def _history(self, batch: HistoryBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Row, item and weight of each distinct item of each history, weighted by its most recent event."""
        rows = row_ids(batch.offsets, tokens=len(batch.items))
        keys, group = torch.unique(rows * self.items + batch.items, return_inverse=True)
        age = reversed_positions(batch.offsets, tokens=len(batch.items))
        youngest = torch.zeros_like(keys).scatter_reduce(0, group, age, "amin", include_self=False)
        weights = self.config.recency ** youngest.to(self.similarities.dtype)
        return keys // self.items, keys % self.items, weights

    def _add(self, scores: Tensor, rows: Tensor, items: Tensor, weights: Tensor) -> None:
        """Add the neighbour lists of `items`, weighted, into the flat `scores` of their rows."""
        lengths = self.starts.diff()[items]
        token = torch.repeat_interleave(torch.arange(len(items), device=items.device), lengths)
        first = self.starts[items] - (lengths.cumsum(0) - lengths)
        entry = first[token] + torch.arange(len(token), device=items.device)
        target = rows[token] * self.items + self.neighbours[entry]
        scores.index_add_(0, target, weights[token] * self.similarities[entry])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """How many neighbours there are is known only to the file: take its sizes before its values."""
        for name in ("neighbours", "similarities"):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                setattr(self, name, getattr(self, name).new_zeros(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _matrix(histories: Histories, items: int) -> sparse.csr_array:
    """Who has what, 0 or 1, float64 `[row, item]`."""
    matrix = sparse.csr_array(
        (np.ones(len(histories.values)), histories.values.copy(), histories.offsets.copy()), shape=(len(histories), items)
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def _nearest_blocks(matrix: sparse.csr_array, config: ItemKnnConfig) -> Iterator[sparse.csr_array]:
    """The neighbour lists of a block of items at a time, `[block, item]`."""
    people = np.asarray(matrix.sum(axis=0)).ravel()
    by_item = matrix.T.tocsr()
    for start in range(0, matrix.shape[1], _BLOCK):
        shared = (by_item[start : start + _BLOCK] @ matrix).tocoo()
        first, second = shared.row + start, shared.col
        other = first != second
        first, second, both = first[other], second[other], shared.data[other]
        values = both / (_denominator(config.similarity, people[first], people[second], both) + config.shrinkage)
        kept = _top(first, second, values, config.neighbours)
        shape = (min(_BLOCK, matrix.shape[1] - start), matrix.shape[1])
        yield sparse.csr_array((values[kept], (first[kept] - start, second[kept])), shape=shape)


def _denominator(similarity: Similarity, first: np.ndarray, second: np.ndarray, both: np.ndarray) -> np.ndarray:
    if similarity == "cosine":
        return np.sqrt(first * second)
    if similarity == "conditional":
        return first
    return first + second - both


def _top(first: np.ndarray, second: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Positions of the `count` largest values of each `first`; of equal values the smaller `second` stays."""
    order = np.lexsort((second, -values, first))
    lengths = np.bincount(first)
    place = np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return order[place < count]


def _portions(lengths: Tensor) -> Iterator[slice]:
    """Runs of tokens whose neighbour lists together hold about `_ENTRIES` entries, which bounds the memory of a call."""
    if not len(lengths):
        return
    portion = (lengths.cumsum(0) // _ENTRIES).cpu()
    _, sizes = torch.unique_consecutive(portion, return_counts=True)
    stop = 0
    for size in sizes.tolist():
        yield slice(stop, stop + size)
        stop += size
