"""`SpectralCodes`: a tree of clusters of the co-occurrence graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from scipy.sparse import linalg

from recsmith.item_tokenizers.collaborative import co_occurrence
from recsmith.item_tokenizers.plain import ObservingTokenizer, PlainConfig
from recsmith.nn.quantizers import kmeans
from recsmith.seeding import derive_seed

_DENSE = 400
"""Nodes up to which all eigenvectors are computed at once, which is then faster than asking for a few."""


class SpectralConfig(PlainConfig):
    """Settings of collaborative indexing."""

    levels: int = Field(3, ge=1, le=16)
    """Depth of the tree; the collision level, which numbers the items of a leaf, comes on top."""
    size: int = Field(20, ge=2, le=65_536)
    """Clusters that a cluster is cut into (paper: 20)."""
    reach: int = Field(5, ge=1)
    """Events apart up to which two items of a training history count as met."""


class SpectralCodes(ObservingTokenizer):
    """Collaborative indexing (Hua et al., 2023): the graph of items met in the same histories is cut into clusters, these again, ….

    A cut is spectral clustering: k-means on the main eigenvectors of the normalised adjacency, rows scaled to length 1 (Ng, Jordan &
    Weiss, 2002). Clusters of at most `size` items give every item a branch of its own. Items that nobody met in training are dealt
    among the branches. Deviations: a fixed depth, after which items of a leaf are numbered; near events count more than far ones.
    """

    Config: ClassVar[type[PlainConfig]] = SpectralConfig
    no_new_items = "nobody has met them yet"

    def _index(self, items: int, *, seed: int) -> tuple[np.ndarray, Sequence[int]]:
        graph = co_occurrence(self._observed(items), items, reach=self.config.reach)
        paths = np.zeros((items, self.config.levels), dtype=np.int64)
        clusters = [np.arange(items)]
        for level in range(self.config.levels):
            grown = []
            for number, members in enumerate(clusters):
                branch = self._cut(graph[members][:, members], seed=derive_seed(seed, "spectral", level, number))
                paths[members, level] = branch
                grown += [part for part in (members[branch == value] for value in np.unique(branch)) if len(part) > 1]
            clusters = grown
        return paths, [self.config.size] * self.config.levels

    def _cut(self, graph: sparse.csr_matrix, *, seed: int) -> np.ndarray:
        """A branch for every node, int64 `[node]`."""
        count, size = graph.shape[0], self.config.size
        if count <= size:
            return np.arange(count)
        degrees = np.asarray(graph.sum(axis=1)).reshape(-1)
        branch = np.arange(count) % size
        met = np.flatnonzero(degrees > 0)
        if len(met) > size:
            axes = torch.from_numpy(_eigenvectors(graph[met][:, met], degrees[met], size, seed=seed))
            branch[met] = kmeans(axes, size, seed=seed >> 1)[1].numpy()
        return branch


def _eigenvectors(graph: sparse.csr_matrix, degrees: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """The `count` main eigenvectors of the normalised adjacency, rows of length 1, float32 `[node, count]`."""
    scale = sparse.diags(1 / np.sqrt(degrees.astype(np.float64)))
    adjacency = scale @ graph.astype(np.float64) @ scale
    if graph.shape[0] <= max(_DENSE, count + 1):
        axes = np.linalg.eigh(adjacency.toarray())[1][:, -count:]
    else:
        start = np.random.default_rng(seed).standard_normal(graph.shape[0])
        axes = linalg.eigsh(adjacency, k=count, which="LA", v0=start, tol=1e-4)[1]
    lengths = np.linalg.norm(axes, axis=1, keepdims=True)
    return (axes / np.maximum(lengths, 1e-12)).astype(np.float32)
