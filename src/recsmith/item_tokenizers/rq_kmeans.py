"""`RqKMeans`: residual k-means, a codebook per level without a neural network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from recsmith.item_tokenizers.residual import ResidualConfig, ResidualTokenizer
from recsmith.nn.quantizers import kmeans
from recsmith.protocols import Progress
from recsmith.seeding import derive_seed


class RqKMeansConfig(ResidualConfig):
    """Settings of residual k-means."""

    iterations: int = Field(25, ge=1)
    """Most Lloyd iterations per level; fewer when the assignment stops changing."""


class RqKMeans(ResidualTokenizer):
    """Residual k-means on the item vectors themselves.

    Level by level: k-means on what is left, take the nearest centroid, subtract it. The residual vector quantization of Chen et al.
    (2010), used for semantic IDs by OneRec (Deng et al., 2025); theirs balances cluster sizes, ours does not (`collisions =
    "nearest"` spreads the last level). Time grows with items × size × dim × levels; nothing larger than the vectors is held.
    """

    Config: ClassVar[type[ResidualConfig]] = RqKMeansConfig

    def _learn(self, vectors: Tensor, sizes: Sequence[int], *, seed: int, progress: Progress | None) -> list[Tensor]:
        codebooks = []
        for level, size in enumerate(sizes):
            centroids, assignment = kmeans(vectors, size, seed=derive_seed(seed, "rq-kmeans", level), iterations=self.config.iterations)
            vectors = vectors - centroids[assignment]
            codebooks.append(centroids)
            if progress is not None:
                progress("residual k-means", level + 1, len(sizes))
        return codebooks

    def _latent(self, vectors: Tensor) -> Tensor:
        return vectors

    def _learned(self) -> dict[str, Tensor]:
        return {}

    def _restore(self, learned: Mapping[str, Tensor]) -> None:
        return
