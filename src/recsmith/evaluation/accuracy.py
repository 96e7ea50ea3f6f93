"""Accuracy of ranked lists with binary relevance: each function takes a `Relevance` and one cutoff and gives one value per case.

Cases without targets give nan (they are left out of means); cases without an answer give 0. The values equal those of trec_eval as
`ir-measures` runs it: R, Success, P, nDCG, RR and AP, each at the cutoff.
"""

from __future__ import annotations

import numpy as np

from recsmith.evaluation.relevance import Relevance


def recall(relevance: Relevance, k: int) -> np.ndarray:
    """Share of the targets found in the first k, float64 `[case]`."""
    return _per_target(relevance.hits[:, :k].sum(axis=1), relevance.targets)


def hit(relevance: Relevance, k: int) -> np.ndarray:
    """1 where at least one target is in the first k, else 0; float64 `[case]`."""
    return _defined(relevance.hits[:, :k].sum(axis=1) > 0, relevance)


def precision(relevance: Relevance, k: int) -> np.ndarray:
    """Hits in the first k divided by k, also for lists that are shorter; float64 `[case]`."""
    return _defined(relevance.hits[:, :k].sum(axis=1) / k, relevance)


def ndcg(relevance: Relevance, k: int) -> np.ndarray:
    """Discounted gain 1 / log2(rank + 1) of the hits over that of the best list possible, which has min(k, targets) hits; `[case]`."""
    gains = 1.0 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(relevance.targets, k)]
    found = relevance.hits[:, :k] @ gains[: relevance.hits.shape[1]]
    return _per_target(found, best)


def reciprocal_rank(relevance: Relevance, k: int) -> np.ndarray:
    """1 / rank of the first hit, 0 where the first k have none; float64 `[case]`."""
    hits = relevance.hits[:, :k]
    if hits.shape[1] == 0:
        return _defined(np.zeros(len(hits)), relevance)
    return _defined(hits.any(axis=1) / (hits.argmax(axis=1) + 1.0), relevance)


def average_precision(relevance: Relevance, k: int) -> np.ndarray:
    """Sum of the precisions at the hits in the first k, divided by *all* targets (not by min(k, targets)); float64 `[case]`."""
    hits = relevance.hits[:, :k]
    at_rank = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return _per_target((at_rank * hits).sum(axis=1), relevance.targets)


ACCURACY = {
    "Recall": recall,
    "Hit": hit,
    "NDCG": ndcg,
    "MRR": reciprocal_rank,
    "MAP": average_precision,
    "Precision": precision,
}
"""Name of the metric (its mean over cases) → its values per case."""


def _per_target(found: np.ndarray, possible: np.ndarray) -> np.ndarray:
    result = np.full(len(found), np.nan)
    return np.divide(found, possible, out=result, where=possible > 0)


def _defined(values: np.ndarray, relevance: Relevance) -> np.ndarray:
    return np.where(relevance.targets > 0, values, np.nan)
