"""`RqKMeans`: residual k-means, a codebook per level without a neural network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from recsmith.errors import ArtifactError
from recsmith.item_tokenizers.axes import principal_axes
from recsmith.item_tokenizers.residual import ResidualConfig, ResidualTokenizer
from recsmith.nn.quantizers import kmeans
from recsmith.protocols import Progress
from recsmith.seeding import derive_seed


class RqKMeansConfig(ResidualConfig):
    """Settings of residual k-means."""

    iterations: int = Field(25, ge=1)
    """Most Lloyd iterations per level; fewer when the assignment stops changing."""
    components: int = Field(64, ge=0)
    """Principal components that are clustered; 0 takes the vectors as they are."""


class RqKMeans(ResidualTokenizer):
    """Residual k-means on the principal components of the item vectors.

    Level by level: k-means on what is left, take the nearest centroid, subtract it. The residual vector quantization of Chen et al.
    (2010), used for semantic IDs by OneRec (Deng et al., 2025); theirs balances the sizes of clusters by force. Ours keeps only the
    main components: among many weak ones, the residuals of most items crowd around zero and share a few codes. Time grows with
    items × size × components × levels.
    """

    Config: ClassVar[type[ResidualConfig]] = RqKMeansConfig

    def _learn(self, vectors: Tensor, sizes: Sequence[int], *, seed: int, progress: Progress | None) -> list[Tensor]:
        self._mean, self._axes = principal_axes(vectors, self.config.components or vectors.shape[1])
        residual = self._latent(vectors)
        codebooks = []
        for level, size in enumerate(sizes):
            centroids, assignment = kmeans(residual, size, seed=derive_seed(seed, "rq-kmeans", level), iterations=self.config.iterations)
            residual = residual - centroids[assignment]
            codebooks.append(centroids)
            if progress is not None:
                progress("residual k-means", level + 1, len(sizes))
        return codebooks

    def _latent(self, vectors: Tensor) -> Tensor:
        return (vectors - self._mean) @ self._axes

    def _more_figures(self, vectors: Tensor) -> dict[str, Any]:
        centred = vectors - self._mean
        total = centred.square().sum()
        kept = float((centred @ self._axes).square().sum() / total) if total > 0 else 1.0
        return {"variance_kept": min(1.0, kept)}

    def _learned(self) -> dict[str, Tensor]:
        return {"mean": self._mean, "axes": self._axes}

    def _restore(self, learned: Mapping[str, Tensor]) -> None:
        if "mean" not in learned or "axes" not in learned:
            raise ArtifactError("the tokenizer's state lacks `mean` or `axes`; fit it again")
        self._mean, self._axes = learned["mean"], learned["axes"]
