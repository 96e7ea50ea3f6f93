"""From arrays of scores to ranked lists, exactly and with a fixed tie rule, in NumPy alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recsmith.data import Cases, Histories
from recsmith.errors import DataError, UserError
from recsmith.protocols import Answer, RankedLists

TIE_RULE = "equal scores: the smaller item index first"


def rank_scores(scores: np.ndarray, k: int, *, exclude: Histories | None = None) -> RankedLists:
    """The k best items of each row of `scores` `[case, item]`; equal scores go by the smaller item index.

    Items of the packed row of `exclude` (one per case) and items with score -inf are never listed; rows with fewer than k others end in
    -1. The scores are not changed. Raises `UserError` for a k outside 1 … items and `DataError` for nan scores.
    """
    cases, item_count = scores.shape
    if not 1 <= k <= item_count:
        raise UserError(f"k = {k} does not fit a catalogue of {item_count} items; allowed: 1 to {item_count}")
    if exclude is not None:
        scores = scores.copy()
        scores[exclude.rows, exclude.values] = -np.inf
    best = np.partition(scores, item_count - k, axis=1)[:, item_count - k :]
    if np.isnan(best).any():  # nan sorts last, so it shows up here
        raise DataError("the scores hold nan; give a finite score to every item, or -inf to items that must not be listed")
    return _sorted_lists(scores, _chosen(scores, best[:, 0], k), k)


ScoreBlock = Callable[[Cases, int, int], np.ndarray]
"""Cases and a range of items `start:stop` → their scores, float `[case, stop - start]`."""


def answer_in_blocks(score: ScoreBlock, *, item_count: int, block: int = 65_536) -> Answer:
    """An `Answer` that scores the catalogue block by block, so that memory does not grow with it; seen items are masked.

    The lists are exactly those of `rank_scores` on all float32 scores together. Calls raise what `rank_scores` raises.
    """
    if block < 1:
        raise UserError(f"block = {block} does not work; give a number of items from 1")

    def answer(cases: Cases, k: int) -> RankedLists:
        if not 1 <= k <= item_count:
            raise UserError(f"k = {k} does not fit a catalogue of {item_count} items; allowed: 1 to {item_count}")
        seen = Histories(cases.histories.values, cases.histories.offsets)
        best = RankedLists(np.full((len(cases), k), -1, dtype=np.int64), np.full((len(cases), k), -np.inf, dtype=np.float32))
        for start in range(0, item_count, block):
            stop = min(start + block, item_count)
            inside = seen.where((seen.values >= start) & (seen.values < stop))
            found = rank_scores(score(cases, start, stop), min(k, stop - start), exclude=inside.with_values(inside.values - start))
            best = _merged(best, RankedLists(np.where(found.items >= 0, found.items + start, -1), found.scores), k)
        return best

    return answer


def _merged(first: RankedLists, other: RankedLists, k: int) -> RankedLists:
    """The k best of two lists per row; those of `first` have the smaller indices and win ties."""
    items = np.concatenate([first.items, other.items], axis=1)
    scores = np.concatenate([first.scores, other.scores], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return RankedLists(np.take_along_axis(items, order, axis=1), np.take_along_axis(scores, order, axis=1))


def _chosen(scores: np.ndarray, least: np.ndarray, k: int) -> np.ndarray:
    """Which items are listed, bool `[case, item]`: those above the row's k-th best score, then the first of those equal to it."""
    chosen = scores >= least[:, None]
    surplus = np.flatnonzero(np.count_nonzero(chosen, axis=1) > k)
    if len(surplus):
        tied = scores[surplus] == least[surplus, None]
        above = chosen[surplus] & ~tied
        room = k - np.count_nonzero(above, axis=1)
        chosen[surplus] = above | (tied & (np.cumsum(tied, axis=1, dtype=np.int32) <= room[:, None]))
    return chosen


def _sorted_lists(scores: np.ndarray, chosen: np.ndarray, k: int) -> RankedLists:
    """Exactly k items are chosen in every row; those of score -inf turn into -1 at the end."""
    items = (np.flatnonzero(chosen) % scores.shape[1]).reshape(len(scores), k)
    values = np.take_along_axis(scores, items, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")  # items ascend, so that stable means: the smaller index first
    items, values = np.take_along_axis(items, order, axis=1), np.take_along_axis(values, order, axis=1)
    return RankedLists(np.where(values > -np.inf, items, -1), values.astype(np.float32, copy=False))
