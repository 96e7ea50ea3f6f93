"""Recall on a part of the targets: long tail and head, items with and without training events, items the person had and had not.

Each is the recall over the targets of that part alone; cases without a target in the part are nan and left out of the mean. What a
metric loses on the rare items hides behind what it gains on the popular ones, so the parts are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recsmith.data import Histories
from recsmith.evaluation.popularity_bias import long_tail
from recsmith.evaluation.relevance import Relevance, contained, sorted_unique


@dataclass(frozen=True)
class Pairs:
    """Some (case, item) pairs."""

    cases: np.ndarray
    """int64 `[pair]`."""
    items: np.ndarray
    """int64 `[pair]`."""

    def among(self, rows: Histories, *, item_count: int) -> np.ndarray:
        """Whether each pair's item stands in the packed row of its case, bool `[pair]`."""
        known = rows.where(rows.values >= 0)
        return contained(np.sort(known.rows * item_count + known.values), self.cases * item_count + self.items)


def hit_pairs(relevance: Relevance, items: np.ndarray) -> tuple[Pairs, np.ndarray]:
    """The hits of the lists as pairs, with their positions from 0, int64 `[pair]`."""
    cases, positions = relevance.pairs
    return Pairs(cases, items[cases, positions]), positions


def part_recalls(
    relevance: Relevance,
    items: np.ndarray,
    targets: Histories,
    ks: tuple[int, ...],
    *,
    item_count: int,
    popularity: np.ndarray | None,
    histories: Histories | None,
) -> Iterator[tuple[str, dict[int, np.ndarray]]]:
    """`Recall-tail` and `-head` (with `popularity`), `-untrained` and `-trained` where some target has no training event,
    `-repeated` and `-fresh` where some target stands in its case's history; each by cutoff, float64 `[case]`."""
    known = targets.where(targets.values >= 0)
    keys = sorted_unique(known.rows * item_count + known.values)
    wanted = Pairs(keys // item_count, keys % item_count)
    found, positions = hit_pairs(relevance, items)
    for name, in_targets, in_hits in _parts(wanted, found, item_count, popularity, histories):
        possible = np.bincount(wanted.cases[in_targets], minlength=len(items))
        yield f"Recall-{name}", {k: _recall(found.cases[in_hits & (positions < k)], possible) for k in ks}


def _parts(
    wanted: Pairs, found: Pairs, item_count: int, popularity: np.ndarray | None, histories: Histories | None
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name of each part, and which targets and which hits belong to it."""
    if popularity is not None:
        yield from _split("tail", "head", long_tail(popularity)[wanted.items], long_tail(popularity)[found.items])
        untrained = popularity[wanted.items] == 0
        if untrained.any():
            yield from _split("untrained", "trained", untrained, popularity[found.items] == 0)
    if histories is not None:
        repeated = wanted.among(histories, item_count=item_count)
        if repeated.any():
            yield from _split("repeated", "fresh", repeated, found.among(histories, item_count=item_count))


def _split(inside: str, outside: str, targets: np.ndarray, hits: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    yield inside, targets, hits
    yield outside, ~targets, ~hits


def _recall(cases_of_hits: np.ndarray, possible: np.ndarray) -> np.ndarray:
    hits = np.bincount(cases_of_hits, minlength=len(possible))
    return np.divide(hits, possible, out=np.full(len(possible), np.nan), where=possible > 0)
