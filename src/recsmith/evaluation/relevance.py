"""Which positions of ranked lists are hits: membership of packed targets by sorted keys, without a loop over users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsmith.data import Histories
from recsmith.errors import DataError


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
        keys = np.unique(_keys(known, item_count))
        counts = np.bincount(keys // item_count, minlength=len(targets)) + targets.lengths - known.lengths
        return cls(_contains(keys, items, item_count), counts.astype(np.int64))


def members(items: np.ndarray, rows: Histories, *, item_count: int) -> np.ndarray:
    """Whether each listed item occurs in the packed row of its case, bool `[case, k]`."""
    known = rows.where(rows.values >= 0)
    return _contains(np.sort(_keys(known, item_count)), items, item_count)


def without_repeats(items: np.ndarray) -> np.ndarray:
    """The lists with every repetition of an item replaced by -1, so that it takes its place but earns nothing; int64 `[case, k]`."""
    order = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, order, axis=1)
    repeated = np.zeros(items.shape, dtype=bool)
    repeated[:, 1:] = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if not repeated.any():
        return items
    cleaned = items.copy()
    np.put_along_axis(cleaned, order, np.where(repeated, -1, ordered), axis=1)
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


def _contains(sorted_keys: np.ndarray, items: np.ndarray, item_count: int) -> np.ndarray:
    if len(sorted_keys) == 0:
        return np.zeros(items.shape, dtype=bool)
    wanted = np.arange(len(items))[:, None] * item_count + items
    place = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
    return (sorted_keys[place] == wanted) & (items >= 0)
