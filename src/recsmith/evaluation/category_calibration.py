"""Do lists hold the categories in the proportions of the person's history? One value per case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsmith.data import Histories, offsets_of

SMOOTHING = 0.01
"""Share of the history's distribution mixed into that of the list, so that the divergence stays finite (Steck 2018)."""
_CELLS = 1 << 20
"""Upper bound on the cells `[case, category]` of one chunk (8 MiB)."""


def category_calibration(items: np.ndarray, categories: Histories, histories: Histories, ks: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Kullback–Leibler divergence of the list's categories from the history's, in nats, for each k of `ks` (ascending); float64 `[case]`.

    Steck (2018): each item spreads a weight of 1 evenly over its categories; p is the mean over the history, q over the first k, and
    the measure is KL(p || (1 - α) q + α p) with α = .01. 0 is a perfectly balanced list; one without a category in common gives
    log(1/α). Deviation: history items all weigh the same. Cases without categories on either side give nan.
    """
    shares = _Shares.of(categories)
    result = {k: np.full(len(items), np.nan) for k in ks}
    size = max(1, _CELLS // shares.width)
    for start in range(0, len(items), size):
        rows = slice(start, min(start + size, len(items)))
        for k, values in _divergences(items[rows], histories.slice(rows.start, rows.stop), shares, ks).items():
            result[k][rows] = values
    return result


@dataclass(frozen=True)
class _Shares:
    """Item → its distinct categories, each with weight 1 / their number; packed, with an empty row at the end for index -1."""

    categories: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    width: int

    @classmethod
    def of(cls, categories: Histories) -> _Shares:
        names, category = np.unique(categories.values, return_inverse=True)
        width = max(1, len(names))
        keys = np.unique(categories.rows * width + category)
        lengths = np.append(np.bincount(keys // width, minlength=len(categories)), 0)
        return cls(keys % width, offsets_of(lengths)[:-1], lengths, width)

    def histogram(self, rows: np.ndarray, items: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Weight of every category, float64 `[count, category]`, and items with categories, `[count]`, of pairs (row, item)."""
        lengths = self.lengths[items]
        place = np.arange(lengths.sum()) + np.repeat(self.starts[items] - (np.cumsum(lengths) - lengths), lengths)
        cells = np.repeat(rows * self.width, lengths) + self.categories[place]
        weights = np.repeat(1.0 / np.maximum(lengths, 1), lengths)
        filled = np.bincount(cells, weights, minlength=count * self.width).reshape(count, self.width)
        return filled, np.bincount(rows[lengths > 0], minlength=count)


def _divergences(items: np.ndarray, histories: Histories, shares: _Shares, ks: tuple[int, ...]) -> dict[int, np.ndarray]:
    count = len(items)
    wanted, known = shares.histogram(histories.rows, histories.values, count)
    case, category = np.nonzero(wanted)
    p = wanted[case, category] / known[case]
    found, listed, start, result = np.zeros((count, shares.width)), np.zeros(count, dtype=np.int64), 0, {}
    for k in ks:
        part = items[:, start:k]
        more, further = shares.histogram(np.repeat(np.arange(count), part.shape[1]), part.reshape(-1), count)
        found, listed, start = found + more, listed + further, k
        q = found[case, category] / np.maximum(listed, 1)[case]
        divergence = np.bincount(case, p * np.log(p / ((1 - SMOOTHING) * q + SMOOTHING * p)), minlength=count)
        result[k] = np.where((known > 0) & (listed > 0), np.maximum(divergence, 0.0), np.nan)
    return result
