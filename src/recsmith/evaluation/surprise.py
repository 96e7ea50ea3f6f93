"""What a list has that its reader would not have expected: serendipity and unexpectedness, one value per case."""

from __future__ import annotations

import numpy as np

from recsmith.data import Histories
from recsmith.evaluation.category_sets import CategorySets
from recsmith.evaluation.partial import Pairs, hit_pairs
from recsmith.evaluation.relevance import Relevance, sorted_unique


def serendipity(
    relevance: Relevance, items: np.ndarray, ks: tuple[int, ...], *, popularity: np.ndarray, histories: Histories
) -> dict[int, np.ndarray]:
    """Hits in the first k that a primitive recommender would not have listed in its first k, divided by k (Ge et al. 2010); `[case]`.

    The primitive recommender lists the items most popular in training, ties by the smaller index, without what the person had. What the
    person had is never serendipitous. Cases without targets give nan.
    """
    item_count = len(popularity)
    rank = np.empty(item_count, dtype=np.int64)
    rank[np.argsort(-popularity, kind="stable")] = np.arange(item_count)
    hits, positions = hit_pairs(relevance, items)
    place = _place_among_unseen(hits, rank, histories, item_count)
    result = {}
    for k in ks:
        counted = (positions < k) & (place >= k)
        found = np.bincount(hits.cases[counted], minlength=len(items)) / k
        result[k] = np.where(relevance.targets > 0, found, np.nan)
    return result


def category_unexpectedness(items: np.ndarray, sets: CategorySets, histories: Histories, ks: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Mean share of an item's categories that nothing in the person's history has, over the first k, for each k; float64 `[case]`.

    Items without a category are left out; people whose history has none, and lists of such items only, give nan.
    """
    width = min(max(ks), items.shape[1])
    share = np.zeros((len(items), width))
    known = np.zeros((len(items), width), dtype=bool)
    for rows in sets.chunks(len(items), width):
        listed = items[rows, :width]
        familiar = sets.of_rows(histories.slice(rows.start, rows.stop))
        sizes = sets.sizes[listed]
        common = sets.common(sets.bits[listed], familiar[:, None])
        known[rows] = (sizes > 0) & (familiar != 0).any(axis=1, keepdims=True)
        share[rows] = np.where(known[rows], 1 - common / np.maximum(sizes, 1), 0.0)
    sums, counts = np.cumsum(share, axis=1), np.cumsum(known, axis=1)
    return {k: _quotient(sums[:, min(k, width) - 1], counts[:, min(k, width) - 1]) for k in ks}


def _place_among_unseen(pairs: Pairs, rank: np.ndarray, histories: Histories, item_count: int) -> np.ndarray:
    """Place from 0 of each item in the popularity list without its case's history; -1 for items in that history; int64 `[pair]`."""
    seen = histories.where(histories.values >= 0)
    keys = sorted_unique(seen.rows * item_count + rank[seen.values])
    wanted = pairs.cases * item_count + rank[pairs.items]
    better = np.searchsorted(keys, wanted) - np.searchsorted(keys, pairs.cases * item_count)
    return np.where(pairs.among(histories, item_count=item_count), -1, rank[pairs.items] - better)


def _quotient(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
