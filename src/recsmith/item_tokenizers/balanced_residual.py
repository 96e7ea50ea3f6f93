"""`BalancedRqKMeans`: residual k-means whose codes are all used about equally often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from recsmith.item_tokenizers.axes import principal_axes
from recsmith.item_tokenizers.residual import ResidualConfig
from recsmith.item_tokenizers.rq_kmeans import RqKMeans, RqKMeansConfig
from recsmith.nn.balanced import balanced_kmeans
from recsmith.nn.quantizers import residual_codes
from recsmith.protocols import Progress
from recsmith.seeding import derive_seed


class BalancedRqKMeansConfig(RqKMeansConfig):
    """Settings of balanced residual k-means: those of residual k-means."""


class BalancedRqKMeans(RqKMeans):
    """Residual k-means with balanced clusters, the tokenizer of OneRec (Deng et al., 2025, arXiv:2502.18965).

    At each level every code gets about the same number of items. Deviation: OneRec fills clusters up to a hard limit, one after the
    other; here a crowded code has a price, and an item takes the code of the least squared distance plus price, so that new items
    follow the rule of the old ones and balance is near, not exact. A price is kept as one more coordinate of its centroid, one such
    coordinate per level, in which all items are 0; the figure `quantization_error` counts the prices as distance.
    """

    Config: ClassVar[type[ResidualConfig]] = BalancedRqKMeansConfig

    def _learn(self, vectors: Tensor, sizes: Sequence[int], *, seed: int, progress: Progress | None) -> list[Tensor]:
        self._mean, self._axes = principal_axes(vectors, self.config.components or vectors.shape[1])
        residual, codebooks = super()._latent(vectors), []
        for level, size in enumerate(sizes):
            own_seed = derive_seed(seed, "balanced", level) >> 1
            centroids, prices, _ = balanced_kmeans(residual, size, seed=own_seed, iterations=self.config.iterations)
            raised = torch.zeros(size, len(sizes))
            raised[:, level] = prices.clamp(min=0).sqrt()
            codebooks.append(torch.cat([centroids, raised], 1))
            codes, _ = residual_codes(self._with_prices(residual), codebooks[-1:])
            residual = residual - centroids[codes[:, 0]]
            if progress is not None:
                progress("balanced residual k-means", level + 1, len(sizes))
        return codebooks

    def _latent(self, vectors: Tensor) -> Tensor:
        return self._with_prices(super()._latent(vectors))

    def _with_prices(self, latent: Tensor) -> Tensor:
        return torch.cat([latent, latent.new_zeros(len(latent), self.config.levels)], 1)
