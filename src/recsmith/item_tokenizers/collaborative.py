"""Item vectors out of training histories: what tokenizers that listen to behaviour align with, cluster, or write down."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsmith.data import Histories

_REACH = 5
"""Events apart up to which two items of a history count as met."""


def co_occurrence(histories: Histories, items: int, *, reach: int = _REACH) -> sparse.csr_matrix:
    """How often two different items stand at most `reach` events apart in a row, nearer ones counting more; symmetric `[item, item]`.

    A pair d events apart counts 1 / d. Unknown items (-1) count for nothing.
    """
    values, rows = histories.values, histories.rows
    total = sparse.csr_matrix((items, items), dtype=np.float32)
    for distance in range(1, reach + 1):
        left, right = values[:-distance], values[distance:]
        together = (rows[:-distance] == rows[distance:]) & (left != right) & (left >= 0) & (right >= 0)
        left, right = left[together], right[together]
        weights = np.full(len(left), 1.0 / distance, dtype=np.float32)
        total = total + sparse.csr_matrix((weights, (left, right)), shape=(items, items))
    return (total + total.T).tocsr()


def collaborative_vectors(histories: Histories, items: int, *, dim: int, seed: int) -> np.ndarray:
    """Vectors of length 1 for items that are met in the same histories, float32 `[item, dim]`; zeros for items that meet nobody.

    The main singular directions of the positive pointwise mutual information of co-occurrence, scaled by the root of their
    singular values (Levy & Goldberg, 2014, who show word2vec to be this factorization). Fewer directions than `dim` (a tiny
    catalogue) leave the rest at zero.
    """
    information = _positive_information(co_occurrence(histories, items))
    vectors = np.zeros((items, dim), dtype=np.float32)
    count = min(dim, items - 1)
    if information.nnz == 0 or count < 1:
        return vectors
    start = np.random.default_rng(seed).standard_normal(items).astype(np.float32)
    left, strengths, _ = sparse.linalg.svds(information, k=count, v0=start)
    order = np.argsort(-strengths)
    axes = left[:, order] * np.sqrt(strengths[order])
    axes *= np.where(axes[np.abs(axes).argmax(axis=0), np.arange(count)] < 0, -1.0, 1.0)  # a singular vector's sign is arbitrary
    lengths = np.linalg.norm(axes, axis=1, keepdims=True)
    met = np.asarray(information.getnnz(axis=1) > 0)[:, None]
    vectors[:, :count] = np.where(met & (lengths > 1e-6), axes / np.maximum(lengths, 1e-6), 0.0)
    return vectors


def _positive_information(met: sparse.csr_matrix) -> sparse.csr_matrix:
    pairs = met.tocoo()
    totals = np.asarray(met.sum(axis=1)).reshape(-1)
    expected = totals[pairs.row] * totals[pairs.col] / max(float(totals.sum()), 1e-12)
    values = np.log(pairs.data / expected)
    kept = values > 0
    return sparse.csr_matrix((values[kept].astype(np.float32), (pairs.row[kept], pairs.col[kept])), shape=met.shape)
