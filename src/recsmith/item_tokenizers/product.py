"""`ProductCodes`: product quantization; every code describes its own part of the vector, so their order does not matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from recsmith.errors import ArtifactError, DataError
from recsmith.item_tokenizers.axes import principal_axes
from recsmith.item_tokenizers.residual import ResidualConfig, ResidualTokenizer
from recsmith.nn.quantizers import kmeans, nearest
from recsmith.protocols import Progress
from recsmith.seeding import derive_seed


class ProductConfig(ResidualConfig):
    """Settings of product quantization."""

    levels: int = Field(3, ge=1, le=256)
    """Parts that a vector is cut into, each with a code of its own; the collision level comes on top."""
    rotation: Literal["none", "balanced", "learned"] = "learned"
    """What happens before the cut: nothing (PQ), principal axes dealt so that parts vary alike, or these and then learning (OPQ)."""
    components: int = Field(128, ge=0)
    """Principal components that are cut into parts; 0 takes all numbers of the vectors. Not used without rotation."""
    rotations: int = Field(20, ge=0)
    """Steps of learning the rotation."""
    iterations: int = Field(25, ge=1)
    """Most Lloyd iterations per part; fewer when the assignment stops changing."""


class ProductCodes(ResidualTokenizer):
    """Product quantization (Jégou et al., 2011) with the optimized rotation of Ge et al. (2013), the tokenizer of VQ-Rec and RPG.

    A vector is rotated and cut into `levels` parts, and k-means runs on each part. The codebooks are kept in the space of the whole
    vector, zero outside their part: parts are orthogonal, so subtracting one code leaves the other parts as they were. Deviations
    from Ge et al.: both of their methods follow each other, the balanced principal axes being the start of the learned rotation, and
    k-means begins anew once the rotation stands.
    """

    Config: ClassVar[type[ResidualConfig]] = ProductConfig
    _mean: Tensor
    _rotation: Tensor

    def _learn(self, vectors: Tensor, sizes: Sequence[int], *, seed: int, progress: Progress | None) -> list[Tensor]:
        self._rotate(vectors, len(sizes))
        parts = _parts(self._rotation.shape[1], len(sizes))
        if self.config.rotation == "learned":
            self._rotation = self._rotation @ self._learned_rotation(self._latent(vectors), parts, sizes, seed)
        latent = self._latent(vectors)
        codebooks = []
        for level, (part, size) in enumerate(zip(parts, sizes, strict=True)):
            own = latent[:, part].contiguous()
            centroids, _ = kmeans(own, size, seed=derive_seed(seed, "product", level), iterations=self.config.iterations)
            codebooks.append(torch.zeros(size, latent.shape[1]))
            codebooks[-1][:, part] = centroids
            if progress is not None:
                progress("product quantization", level + 1, len(sizes))
        return codebooks

    def _rotate(self, vectors: Tensor, levels: int) -> None:
        dim = vectors.shape[1]
        count = dim if self.config.rotation == "none" else min(dim, self.config.components or dim)
        if count < levels:
            raise DataError(f"{count} numbers per item cannot be cut into {levels} parts; set `tokenizer.levels` to {count} or less")
        if self.config.rotation == "none":
            self._mean, self._rotation = vectors.mean(0), torch.eye(dim)
            return
        self._mean, self._rotation = principal_axes(vectors, count)
        if count == dim:  # the axes are then the identity, which has no order
            centred = (vectors - self._mean).double()
            self._rotation = torch.linalg.eigh(centred.T @ centred)[1].flip(1).float()
        variances = self._latent(vectors).square().mean(0)
        self._rotation = self._rotation[:, _dealt(variances, [len(range(*part.indices(count))) for part in _parts(count, levels)])]

    def _learned_rotation(self, latent: Tensor, parts: Sequence[slice], sizes: Sequence[int], seed: int) -> Tensor:
        """The rotation `[latent, latent]` that brings vectors closest to their codes: codes and rotation in turns."""
        rotation = torch.eye(latent.shape[1])
        books = [
            kmeans(latent[:, part].contiguous(), size, seed=derive_seed(seed, "rotation", level), iterations=1)[0]
            for level, (part, size) in enumerate(zip(parts, sizes, strict=True))
        ]
        for _ in range(self.config.rotations):
            rotated = latent @ rotation
            quantized = torch.empty_like(rotated)
            for level, part in enumerate(parts):
                own = rotated[:, part].contiguous()
                index, _ = nearest(own, books[level])
                books[level] = _means(own, index, books[level])
                quantized[:, part] = books[level][index]
            left, _, right = torch.linalg.svd(latent.T @ quantized)
            rotation = left @ right
        return rotation

    def _latent(self, vectors: Tensor) -> Tensor:
        return (vectors - self._mean) @ self._rotation

    def _more_figures(self, vectors: Tensor) -> dict[str, Any]:
        centred = vectors - self._mean
        total = centred.square().sum()
        kept = float((centred @ self._rotation).square().sum() / total) if total > 0 else 1.0
        return {"variance_kept": min(1.0, kept)}

    def _learned(self) -> dict[str, Tensor]:
        return {"mean": self._mean, "rotation": self._rotation}

    def _restore(self, learned: Mapping[str, Tensor]) -> None:
        if "mean" not in learned or "rotation" not in learned:
            raise ArtifactError("the tokenizer's state lacks `mean` or `rotation`; fit it again")
        self._mean, self._rotation = learned["mean"], learned["rotation"]


def _parts(dim: int, levels: int) -> list[slice]:
    """The numbers 0 … dim - 1 cut into `levels` runs of nearly equal length, longer ones first."""
    length, longer = divmod(dim, levels)
    ends = [(level + 1) * length + min(level + 1, longer) for level in range(levels)]
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _dealt(variances: Tensor, lengths: Sequence[int]) -> Tensor:
    """Order of the axes (strongest first in `variances`) in which parts of these lengths have variances of about equal product.

    Each axis goes to the part with room whose product is the least so far (Ge et al., 2013).
    """
    logs = variances.clamp(min=1e-12).log() - float(variances.clamp(min=1e-12).min().log()) + 1e-6
    parts: list[list[int]] = [[] for _ in lengths]
    products = [0.0] * len(lengths)
    for axis, log in enumerate(logs.tolist()):
        part = min((p for p in range(len(lengths)) if len(parts[p]) < lengths[p]), key=lambda p: products[p])
        parts[part].append(axis)
        products[part] += log
    return torch.tensor([axis for part in parts for axis in part])


def _means(x: Tensor, index: Tensor, centroids: Tensor) -> Tensor:
    """Mean of each centroid's rows; a centroid without rows stays where it is."""
    counts = torch.bincount(index, minlength=len(centroids)).unsqueeze(1)
    sums = torch.zeros_like(centroids).index_add_(0, index, x)
    return torch.where(counts > 0, sums / counts.clamp(min=1), centroids)
