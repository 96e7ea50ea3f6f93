"""How popular the recommended items are in training: novelty, average popularity, share of the long tail; values per item.

The value of a list is the mean over its items; lists without an item give nan.
"""

from __future__ import annotations

import math

import numpy as np

HEAD_SHARE = 0.2
"""Share of the catalogue's items that counts as the head; the others are the long tail."""


def self_information(popularity: np.ndarray) -> np.ndarray:
    """Surprise of meeting an item: -log2(its share of all training events), in bits, float64 `[item]`.

    Vargas and Castells (2011) give it as novelty. An item without training events is taken as if it had one, to stay finite.
    """
    counts = np.maximum(popularity, 1.0)
    return np.log2(max(float(popularity.sum()), 1.0)) - np.log2(counts)


def long_tail(popularity: np.ndarray, *, head_share: float = HEAD_SHARE) -> np.ndarray:
    """Whether an item is outside the head, bool `[item]`.

    The head is the most popular `head_share` of the catalogue's *items* (rounded up, ties by the smaller index), items without
    training events included in the catalogue. Other authors take the items that make up a share of the *events*.
    """
    head = np.argsort(-popularity, kind="stable")[: math.ceil(head_share * len(popularity))]
    tail = np.ones(len(popularity), dtype=bool)
    tail[head] = False
    return tail


def list_means(items: np.ndarray, values: np.ndarray, ks: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Mean of the per-item `values` over the items among the first k, for each k; float64 `[case]`, nan for empty lists."""
    present = items >= 0
    sums = np.cumsum(np.where(present, values[np.maximum(items, 0)], 0.0), axis=1)
    counts = np.cumsum(present, axis=1)
    means = {}
    for k in ks:
        last = min(k, items.shape[1]) - 1
        means[k] = np.divide(sums[:, last], counts[:, last], out=np.full(len(items), np.nan), where=counts[:, last] > 0)
    return means
