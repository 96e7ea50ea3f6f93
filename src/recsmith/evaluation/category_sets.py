"""Category sets of items as bit masks, so that comparing two sets is a few machine words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recsmith.data import Histories

_WORDS_IN_FLIGHT = 1 << 16
"""Upper bound on the 64-bit words of the lists of one chunk (512 KiB): what a processor keeps at hand."""


@dataclass(frozen=True)
class CategorySets:
    """The categories of each item; categories that never occur take no bit."""

    bits: np.ndarray
    """uint64 `[item + 1, word]`; the last row is empty and stands for no item, which has index -1."""
    sizes: np.ndarray
    """Number of distinct categories of each item, int64 `[item + 1]`; 0 in the end."""

    @classmethod
    def of(cls, categories: Histories) -> CategorySets:
        """From one packed row of category indices per item; repetitions do not count."""
        _, category = np.unique(categories.values, return_inverse=True)
        words = int(category.max(initial=0)) // 64 + 1
        bits = np.zeros((len(categories) + 1, words), dtype=np.uint64)
        np.bitwise_or.at(bits, (categories.rows, category // 64), np.left_shift(np.uint64(1), (category % 64).astype(np.uint64)))
        return cls(bits, np.bitwise_count(bits).sum(axis=1, dtype=np.int64))

    def of_rows(self, rows: Histories) -> np.ndarray:
        """Union of the categories of each packed row of items (-1 has none), uint64 `[row, word]`."""
        result = np.zeros((len(rows), self.bits.shape[1]), dtype=np.uint64)
        known = rows.where(rows.values >= 0)
        filled = np.flatnonzero(known.lengths)
        if len(filled):
            result[filled] = np.bitwise_or.reduceat(self.bits[known.values], known.offsets[filled], axis=0)
        return result

    @staticmethod
    def common(first: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Number of categories in both masks, uint64 `[…, word]` each; uint8 `[…]` where they fit into one word, else int64."""
        counts = np.bitwise_count(first & other)
        return counts[..., 0] if counts.shape[-1] == 1 else counts.sum(axis=-1, dtype=np.int64)

    def chunks(self, cases: int, width: int) -> Iterator[slice]:
        """Slices of cases whose lists of `width` items fit the bound on words at a time."""
        size = max(1, _WORDS_IN_FLIGHT // (max(width, 1) * self.bits.shape[1]))
        for start in range(0, cases, size):
            yield slice(start, min(start + size, cases))
