"""Intra-list diversity: the mean distance between the items of one list, by category sets and by vectors; one value per case.

Items about which nothing is known (no category, a zero vector) are left out of their list; lists with fewer than two others give nan.
By vectors the distance to the person's history, unexpectedness, comes out of the same sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recsmith.data import Histories
from recsmith.evaluation.category_sets import CategorySets

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True)
class UnitVectors:
    """Item vectors of length 1, zero vectors left as they are."""

    units: np.ndarray
    """float32 `[item, dim]`."""
    known: np.ndarray
    """Whether the vector says anything, bool `[item]`."""

    @classmethod
    def of(cls, vectors: np.ndarray) -> UnitVectors:
        """From vectors of any length, float `[item, dim]`."""
        norms = np.linalg.norm(vectors, axis=1)
        units = (vectors / np.where(norms > 0, norms, 1.0)[:, None]).astype(np.float32, copy=False)
        return cls(units, norms > 0)

    def list_sums(self, items: np.ndarray, ks: tuple[int, ...]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """For each k the sum of the units of the known items among the first k, float32 `[case, dim]`, and their number `[case]`."""
        known = (items >= 0) & self.known[np.maximum(items, 0)]
        sums = np.zeros((len(items), self.units.shape[1]), dtype=np.float32)
        counts = np.zeros(len(items))
        start = 0
        for k in ks:
            part, present = items[:, start:k], known[:, start:k]
            sums += _incidence(part[present], present.sum(axis=1), len(self.units)) @ self.units
            counts = counts + present.sum(axis=1)
            yield k, sums, counts
            start = k

    def row_means(self, rows: Histories) -> np.ndarray:
        """Mean unit of the known items of each packed row, float32 `[row, dim]`; nan for rows without one."""
        known = rows.where((rows.values >= 0) & self.known[np.maximum(rows.values, 0)])
        sums = _incidence(known.values, known.lengths, len(self.units)) @ self.units
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums / known.lengths[:, None].astype(np.float32)


def vector_diversity(items: np.ndarray, vectors: np.ndarray, ks: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Mean cosine distance between all pairs among the first k, for each k of `ks` (ascending); float64 `[case]`.

    `vectors` is float `[item, dim]`. With unit vectors u the sum of cos(u_i, u_j) over i ≠ j is |Σu|² - n, so no pair is ever formed.
    """
    return vector_measures(items, vectors, ks)["ILD-vectors"]


def vector_measures(
    items: np.ndarray, vectors: np.ndarray, ks: tuple[int, ...], histories: Histories | None = None
) -> dict[str, dict[int, np.ndarray]]:
    """`ILD-vectors` as in `vector_diversity` and, with `histories`, `Unexpectedness-vectors`; each float64 `[case]` by cutoff.

    Unexpectedness is the mean cosine distance between the first k and the items of the person's history, over all pairs (1 minus the
    unserendipity of Zhang et al. 2012): the dot product of two mean vectors. nan for empty lists and empty histories.
    """
    units = UnitVectors.of(vectors)
    profiles = None if histories is None else units.row_means(histories)
    result: dict[str, dict[int, np.ndarray]] = {"ILD-vectors": {}}
    if profiles is not None:
        result["Unexpectedness-vectors"] = {}
    for k, sums, counts in units.list_sums(items, ks):
        similar = np.einsum("cd,cd->c", sums, sums, dtype=np.float64) - counts
        result["ILD-vectors"][k] = 1.0 - _mean_of_pairs(similar, counts)
        if profiles is not None:
            likeness = np.einsum("cd,cd->c", sums, profiles).astype(np.float64)
            result["Unexpectedness-vectors"][k] = 1.0 - np.divide(likeness, counts, out=np.full(len(items), np.nan), where=counts > 0)
    return result


def category_diversity(items: np.ndarray, sets: CategorySets, ks: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Mean Jaccard distance between the category sets of all pairs among the first k, for each k of `ks`; float64 `[case]`."""
    width = min(max(ks), items.shape[1])
    known = sets.sizes[items[:, :width]] > 0
    similarity = np.zeros((len(items), width))
    for rows in sets.chunks(len(items), width):
        similarity[rows] = _jaccard_with_earlier(items[rows, :width], sets)
    sums, counts = np.cumsum(similarity, axis=1), np.cumsum(known[:, :width], axis=1)
    last = {k: min(k, width) - 1 for k in ks}
    return {k: 1.0 - _mean_of_pairs(2.0 * sums[:, last[k]], counts[:, last[k]].astype(float)) for k in ks}


def _incidence(items: np.ndarray, lengths: np.ndarray, item_count: int) -> sparse.csr_array:
    """Row × item: 1 for each of the packed items."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    from scipy import sparse  # here, so that serving and `--help` start without it

    return sparse.csr_array((np.ones(len(items), dtype=np.float32), items, offsets), shape=(len(lengths), item_count))


def _mean_of_pairs(sum_over_ordered_pairs: np.ndarray, counts: np.ndarray) -> np.ndarray:
    pairs = counts * (counts - 1)
    return np.divide(sum_over_ordered_pairs, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)


def _jaccard_with_earlier(items: np.ndarray, sets: CategorySets) -> np.ndarray:
    """Sum over earlier positions of |A ∩ B| / |A ∪ B| with the item at a position; unknown items add 0; float64 `[case, k]`."""
    places = np.ascontiguousarray(items.T)  # position first, so that all cases of one pair of positions lie side by side
    masks, sizes = sets.bits[places], sets.sizes[places]
    sizes = sizes.astype(np.uint8) if sizes.max(initial=0) < 128 else sizes
    total = np.zeros(places.shape)
    for position in range(1, len(places)):
        common = sets.common(masks[:position], masks[position])
        union = sizes[:position] + sizes[position] - common
        np.divide(common, np.maximum(union, 1), dtype=np.float64).sum(axis=0, out=total[position])
    return total.T
