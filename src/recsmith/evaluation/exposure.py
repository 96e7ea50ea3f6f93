"""How the catalogue is shown to people as a whole: coverage, Gini and entropy of the lists, one number per cutoff."""

from __future__ import annotations

import numpy as np


def exposure(items: np.ndarray, k: int, *, item_count: int) -> np.ndarray:
    """How often each item stands in the first k of a list, int64 `[item]`."""
    shown = items[:, :k]
    return np.bincount(shown[shown >= 0], minlength=item_count)


def coverage(counts: np.ndarray) -> float:
    """Share of the catalogue that was shown at all."""
    return float(np.count_nonzero(counts) / len(counts))


def gini(counts: np.ndarray) -> float:
    """Inequality of exposure over the whole catalogue, items never shown included.

    0 = all items equally often; 1 - 1/items = one item alone; nan when nothing was shown.
    """
    total = counts.sum()
    if total == 0:
        return float("nan")
    size = len(counts)
    weights = 2 * np.arange(1, size + 1) - size - 1
    return float(np.sort(counts) @ weights / (size * total))


def entropy(counts: np.ndarray) -> float:
    """Shannon entropy of exposure in bits: 0 for one item alone, log2(items) for all equally often; nan when nothing was shown."""
    total = counts.sum()
    if total == 0:
        return float("nan")
    shares = counts[counts > 0] / total
    return float(max(0.0, -(shares * np.log2(shares)).sum()))
