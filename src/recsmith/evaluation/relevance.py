"""Which positions of ranked lists are hits: membership of packed targets without a loop over users."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsmith.data import Histories, offsets_of
from recsmith.errors import DataError

_CASES_AT_ONCE = 8_192
_MANY_TARGETS = 64
"""Above this number of targets of one case, its chunk is searched by sorted keys instead of target by target."""


@dataclass(frozen=True)
class Relevance:
    """Binary relevance of ranked lists."""

    hits: np.ndarray
    """Whether the item at a position is a target, bool `[case, k]`."""
    targets: np.ndarray
    """Number of distinct targets, int64 `[case]`."""

    @classmethod
    def of(cls, items: np.ndarray, targets: Histories, *, item_count: int) -> Relevance:
        """Compare lists int64 `[case, k]` (-1 = no item) with the targets of the same cases.

        A target that occurs twice counts once. A target of -1 (an item outside the catalogue) counts as relevant and can never be hit.
        """
        known = targets.where(targets.values >= 0)
        keys = sorted_unique(_keys(known, item_count))
        cases = keys // item_count
        counts = np.bincount(cases, minlength=len(targets)).astype(np.int64)
        distinct = Histories(keys % item_count, offsets_of(counts))
        return cls(_hits(items, distinct, item_count), counts + targets.lengths - known.lengths)

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Case and position from 0 of every hit, int64 `[hit]` each, by case, then position."""
        cases, positions = np.nonzero(self.hits)
        return cases, positions

    def sums(self, k: int, values: np.ndarray) -> np.ndarray:
        """Per case the sum of `values`, one per hit in the order of `pairs`, over the hits in the first k; float64 `[case]`."""
        cases, positions = self.pairs
        counted = positions < k
        return np.bincount(cases[counted], values[counted], minlength=len(self.hits))


def sorted_unique(keys: np.ndarray) -> np.ndarray:
    """The distinct keys in ascending order; by sorting, which beats the hash table of `np.unique` on keys that ascend by case."""
    ordered = np.sort(keys)
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def contained(sorted_keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Whether each of `wanted` is one of the ascending keys, bool of the shape of `wanted`."""
    if len(sorted_keys) == 0:
        return np.zeros(wanted.shape, dtype=bool)
    place = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
    return sorted_keys[place] == wanted


def members(items: np.ndarray, rows: Histories, *, item_count: int) -> np.ndarray:
    """Whether each listed item occurs in the packed row of its case, bool `[case, k]`."""
    return _hits(items, rows.where(rows.values >= 0), item_count)


def members_of_rows(values: Histories, rows: Histories, *, item_count: int) -> np.ndarray:
    """Whether each item of packed `values` occurs in the row of the same case, bool `[event]`; -1 never does."""
    known = rows.where(rows.values >= 0)
    return contained(np.sort(_keys(known, item_count)), _keys(values, item_count)) & (values.values >= 0)


def without_repeats(items: np.ndarray) -> np.ndarray:
    """The lists with every repetition of an item replaced by -1, so that it takes its place but earns nothing; int64 `[case, k]`."""
    ordered = np.sort(items, axis=1)
    rows = np.flatnonzero(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1))
    if not len(rows):
        return items
    order = np.argsort(items[rows], axis=1, kind="stable")
    ordered = np.take_along_axis(items[rows], order, axis=1)
    repeated = np.zeros(ordered.shape, dtype=bool)
    repeated[:, 1:] = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    some = items[rows]
    np.put_along_axis(some, order, np.where(repeated, -1, ordered), axis=1)
    cleaned = items.copy()
    cleaned[rows] = some
    return cleaned


def check_lists(items: np.ndarray, *, cases: int, item_count: int) -> None:
    """Raise `DataError` unless `items` is an integer array `[case, k]` of values -1 … item_count - 1."""
    if items.ndim != 2 or len(items) != cases or not np.issubdtype(items.dtype, np.integer):
        raise DataError(
            f"lists of shape {items.shape} and type {items.dtype} do not fit {cases} cases; allowed: integers of shape [{cases}, k]"
        )
    if items.size and (items.min() < -1 or items.max() >= item_count):
        wrong = items.min() if items.min() < -1 else items.max()
        raise DataError(
            f"the lists hold item index {wrong} but the catalogue has {item_count} items; allowed: 0 to {item_count - 1}, -1 for no item"
        )


def _keys(rows: Histories, item_count: int) -> np.ndarray:
    return rows.rows * item_count + rows.values


def _hits(items: np.ndarray, rows: Histories, item_count: int) -> np.ndarray:
    """Whether each listed item occurs in the packed row (without -1) of its case, bool `[case, k]`."""
    hits = np.zeros(items.shape, dtype=bool)
    for start in range(0, len(items), _CASES_AT_ONCE):
        part = slice(start, min(start + _CASES_AT_ONCE, len(items)))
        hits[part] = _hits_of_few(items[part], rows.slice(part.start, part.stop), item_count)
    return hits


def _hits_of_few(items: np.ndarray, rows: Histories, item_count: int) -> np.ndarray:
    longest = int(rows.lengths.max(initial=0))
    if longest > _MANY_TARGETS:
        wanted = np.arange(len(items))[:, None] * item_count + items
        return contained(np.sort(_keys(rows, item_count)), wanted) & (items >= 0)
    hits = np.zeros(items.shape, dtype=bool)
    for place in range(longest):
        some = np.flatnonzero(rows.lengths > place)
        hits[some] |= items[some] == rows.values[rows.offsets[some] + place][:, None]
    return hits
