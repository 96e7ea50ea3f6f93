"""Intra-list diversity: the mean distance between the items of one list, by category sets and by vectors; one value per case.

Items about which nothing is known (no category, a zero vector) are left out of their list; lists with fewer than two others give nan.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsmith.data import Histories

_WORDS_IN_FLIGHT = 1 << 22
"""Upper bound on the 64-bit words that one chunk of cases compares at a time (32 MiB)."""


def vector_diversity(items: np.ndarray, vectors: np.ndarray, ks: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Mean cosine distance between all pairs among the first k, for each k of `ks` (ascending); float64 `[case]`.

    `vectors` is float `[item, dim]`. With unit vectors u the sum of cos(u_i, u_j) over i ≠ j is |Σu|² - n, so no pair is ever formed.
    """
    norms = np.linalg.norm(vectors, axis=1)
    units = (vectors / np.where(norms > 0, norms, 1.0)[:, None]).astype(np.float32, copy=False)
    known = (items >= 0) & (norms > 0)[np.maximum(items, 0)]
    sums = np.zeros((len(items), vectors.shape[1]), dtype=np.float32)
    counts = np.zeros(len(items))
    result, start = {}, 0
    for k in ks:
        part, present = items[:, start:k], known[:, start:k]
        sums += _incidence(part, present, len(vectors)) @ units
        counts = counts + present.sum(axis=1)
        result[k] = 1.0 - _mean_of_pairs(np.einsum("cd,cd->c", sums, sums, dtype=np.float64) - counts, counts)
        start = k
    return result


def category_diversity(items: np.ndarray, categories: Histories, ks: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Mean Jaccard distance between the category sets of all pairs among the first k, for each k of `ks`; float64 `[case]`.

    `categories` has one packed row of category indices per item of the catalogue. Sets are compared as bit masks.
    """
    bits, sizes = _bit_masks(categories)
    width = min(max(ks), items.shape[1])
    known = (items >= 0) & (sizes > 0)[np.maximum(items, 0)]
    similarity = np.zeros((len(items), width))
    chunk = max(1, _WORDS_IN_FLIGHT // (max(width, 1) * bits.shape[1]))
    for start in range(0, len(items), chunk):
        rows = slice(start, start + chunk)
        similarity[rows] = _jaccard_with_earlier(items[rows, :width], known[rows, :width], bits, sizes)
    sums, counts = np.cumsum(similarity, axis=1), np.cumsum(known[:, :width], axis=1)
    last = {k: min(k, width) - 1 for k in ks}
    return {k: 1.0 - _mean_of_pairs(2.0 * sums[:, last[k]], counts[:, last[k]].astype(float)) for k in ks}


def _incidence(items: np.ndarray, present: np.ndarray, item_count: int) -> sparse.csr_array:
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    columns = items[present]
    return sparse.csr_array((np.ones(len(columns), dtype=np.float32), columns, offsets), shape=(len(items), item_count))


def _mean_of_pairs(sum_over_ordered_pairs: np.ndarray, counts: np.ndarray) -> np.ndarray:
    pairs = counts * (counts - 1)
    return np.divide(sum_over_ordered_pairs, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)


def _bit_masks(categories: Histories) -> tuple[np.ndarray, np.ndarray]:
    """Category sets as uint64 `[item, word]` and their sizes int64 `[item]`; categories that never occur take no bit."""
    _, category = np.unique(categories.values, return_inverse=True)
    words = int(category.max(initial=0)) // 64 + 1
    bits = np.zeros((len(categories), words), dtype=np.uint64)
    np.bitwise_or.at(bits, (categories.rows, category // 64), np.left_shift(np.uint64(1), (category % 64).astype(np.uint64)))
    return bits, np.bitwise_count(bits).sum(axis=1, dtype=np.int64)


def _jaccard_with_earlier(items: np.ndarray, known: np.ndarray, bits: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Sum over earlier positions of |A ∩ B| / |A ∪ B| with the item at a position; unknown items add 0; float64 `[case, k]`."""
    masks, lengths = bits[np.maximum(items, 0)], sizes[np.maximum(items, 0)]
    total = np.zeros(items.shape)
    for position in range(1, items.shape[1]):
        common = np.bitwise_count(masks[:, :position] & masks[:, position, None]).sum(axis=2, dtype=np.int64)
        union = lengths[:, :position] + lengths[:, position, None] - common
        pairs = known[:, :position] & known[:, position, None]
        total[:, position] = np.where(pairs, common / np.maximum(union, 1), 0.0).sum(axis=1)
    return total
