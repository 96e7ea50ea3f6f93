"""Accuracy of ranked lists with binary relevance: each function takes a `Relevance` and one cutoff and gives one value per case.

Cases without targets give nan (they are left out of means); cases without an answer give 0. The values equal those of trec_eval as
`ir-measures` runs it: R, Success, P, nDCG, RR and AP, each at the cutoff.
"""

from __future__ import annotations

import numpy as np

from recsmith.evaluation.relevance import Relevance


def recall(relevance: Relevance, k: int) -> np.ndarray:
    """Share of the targets found in the first k, float64 `[case]`."""
    return _per_target(_hits(relevance, k), relevance.targets)


def hit(relevance: Relevance, k: int) -> np.ndarray:
    """1 where at least one target is in the first k, else 0; float64 `[case]`."""
    return _defined(_hits(relevance, k) > 0, relevance)


def precision(relevance: Relevance, k: int) -> np.ndarray:
    """Hits in the first k divided by k, also for lists that are shorter; float64 `[case]`."""
    return _defined(_hits(relevance, k) / k, relevance)


def ndcg(relevance: Relevance, k: int) -> np.ndarray:
    """Discounted gain 1 / log2(rank + 1) of the hits over that of the best list possible, which has min(k, targets) hits; `[case]`."""
    gains = 1.0 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(relevance.targets, k)]
    found = relevance.sums(k, 1.0 / np.log2(relevance.pairs[1] + 2))
    return _per_target(found, best)


def reciprocal_rank(relevance: Relevance, k: int) -> np.ndarray:
    """1 / rank of the first hit, 0 where the first k have none; float64 `[case]`."""
    cases, positions = relevance.pairs
    first = np.ones(len(cases), dtype=bool)
    first[1:] = cases[1:] != cases[:-1]
    return _defined(relevance.sums(k, first / (positions + 1.0)), relevance)


def average_precision(relevance: Relevance, k: int) -> np.ndarray:
    """Sum of the precisions at the hits in the first k, divided by *all* targets (not by min(k, targets)); float64 `[case]`."""
    cases, positions = relevance.pairs
    before = np.arange(len(cases)) - np.searchsorted(cases, cases)
    return _per_target(relevance.sums(k, (before + 1) / (positions + 1)), relevance.targets)


ACCURACY = {
    "Recall": recall,
    "Hit": hit,
    "NDCG": ndcg,
    "MRR": reciprocal_rank,
    "MAP": average_precision,
    "Precision": precision,
}
"""Name of the metric (its mean over cases) → its values per case."""


def _hits(relevance: Relevance, k: int) -> np.ndarray:
    """Number of hits in the first k, float64 `[case]`."""
    return relevance.sums(k, np.ones(len(relevance.pairs[0])))


def _per_target(found: np.ndarray, possible: np.ndarray) -> np.ndarray:
    result = np.full(len(found), np.nan)
    return np.divide(found, possible, out=result, where=possible > 0)


def _defined(values: np.ndarray, relevance: Relevance) -> np.ndarray:
    return np.where(relevance.targets > 0, values, np.nan)
