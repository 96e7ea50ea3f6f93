"""Vector quantization on tensors: k-means, greedy residual coding, and a trainable residual quantizer.

Letters of the shapes: `row` = vectors of one call, `dim` = their length, `level` = codebooks used one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

_CELLS = 1 << 23
"""Most distances held at a time; bounds the memory of `nearest` at 32 MB whatever the number of rows."""
_SEEDING_ROWS = 1 << 15
"""k-means++ reads at most this many rows per centre; more do not improve the start."""


def nearest(x: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the closest centroid, int64 `[row]`, and its squared distance `[row]`, for `x` `[row, dim]`; ties go to the lower index."""
    squares = centroids.square().sum(1)
    indices, distances = [], []
    for part in x.split(max(1, _CELLS // max(1, len(centroids)))):
        smallest, index = torch.addmm(squares, part, centroids.T, alpha=-2).min(1)
        indices.append(index)
        distances.append((smallest + part.square().sum(1)).clamp_(min=0))
    if not indices:
        return torch.zeros(0, dtype=torch.int64, device=x.device), x.new_zeros(0)
    return torch.cat(indices), torch.cat(distances)


def kmeans(x: Tensor, k: int, *, seed: int, iterations: int = 25, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from a k-means++ start (Arthur and Vassilvitskii, 2007), or from centroids `start`; the same for the same seed.

    Takes `x` `[row, dim]` with at least k rows; returns centroids `[k, dim]` and the assignment int64 `[row]`. A centroid that loses
    all its rows moves to a row that is farthest from its own. With fewer than k distinct rows some centroids stay unused.
    """
    if not 1 <= k <= len(x):
        raise ValueError(f"k-means with k = {k} needs 1 ≤ k ≤ {len(x)} rows")
    centroids = _plus_plus(x, k, torch.Generator().manual_seed(seed)) if start is None else start
    assignment, distances = nearest(x, centroids)
    for _ in range(iterations):
        centroids = _means(x, assignment, distances, centroids)
        previous, (assignment, distances) = assignment, nearest(x, centroids)
        if torch.equal(previous, assignment):
            break
    return centroids, assignment


def _plus_plus(x: Tensor, k: int, generator: torch.Generator) -> Tensor:
    if len(x) > max(_SEEDING_ROWS, k):
        x = x[torch.randperm(len(x), generator=generator)[: max(_SEEDING_ROWS, k)].to(x.device)]
    squares = x.square().sum(1)
    chosen = [int(torch.randint(len(x), (1,), generator=generator))]
    distances = torch.full_like(squares, torch.inf)
    for _ in range(k - 1):
        latest = x[chosen[-1]]
        distances = torch.minimum(distances, (squares - 2 * (x @ latest) + latest.square().sum()).clamp_(min=0))
        distances[chosen[-1]] = 0
        chosen.append(_draw(distances, generator))
    return x[torch.tensor(chosen, device=x.device)].clone()


def _draw(weights: Tensor, generator: torch.Generator) -> int:
    cumulative = weights.double().cpu().cumsum(0)
    if cumulative[-1] <= 0:
        return int(torch.randint(len(weights), (1,), generator=generator))
    threshold = torch.rand(1, dtype=torch.float64, generator=generator) * cumulative[-1]
    return min(int(torch.searchsorted(cumulative, threshold, right=True)), len(weights) - 1)


def _means(x: Tensor, assignment: Tensor, distances: Tensor, centroids: Tensor) -> Tensor:
    counts = torch.bincount(assignment, minlength=len(centroids))
    means = torch.zeros_like(centroids).index_add_(0, assignment, x) / counts.clamp(min=1).unsqueeze(1)
    empty = (counts == 0).nonzero().squeeze(1)
    means[empty] = centroids[empty]
    farthest = distances.topk(len(empty)).indices
    farthest = farthest[distances[farthest] > 0]
    means[empty[: len(farthest)]] = x[farthest]
    return means


def residual_codes(x: Tensor, codebooks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Greedy codes of `x` `[row, dim]`: level by level the nearest code, which is then subtracted.

    Returns codes int64 `[row, level]` and what no level explained, `[row, dim]`.
    """
    codes = torch.empty(len(x), len(codebooks), dtype=torch.int64, device=x.device)
    for level, codebook in enumerate(codebooks):
        codes[:, level], _ = nearest(x, codebook)
        x = x - codebook[codes[:, level]]
    return codes, x


class ResidualQuantizer(nn.Module):
    """Codebooks learned by gradient, with straight-through gradients for what comes before.

    The residual of a level is the input minus the codes so far *without their gradient*, so each level's commitment reaches the
    input, as in Lee et al. (2022, "Autoregressive Image Generation using Residual Quantization").
    """

    def __init__(self, sizes: Sequence[int], dim: int) -> None:
        super().__init__()
        self.codebooks = nn.ParameterList([nn.Parameter(torch.zeros(size, dim)) for size in sizes])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`x` `[row, dim]` → quantized `[row, dim]`, codes int64 `[row, level]`, codebook and commitment loss (scalars, levels summed)."""
        residual, codes = x, []
        pull, commitment = x.new_zeros(()), x.new_zeros(())
        for codebook in self.codebooks:
            index, _ = nearest(residual.detach(), codebook.detach())
            vectors = codebook[index]
            pull = pull + mse_loss(vectors, residual.detach())
            commitment = commitment + mse_loss(residual, vectors.detach())
            residual = residual - vectors.detach()
            codes.append(index)
        quantized = x + (x - residual - x).detach()
        return quantized, torch.stack(codes, 1), pull, commitment

    @torch.no_grad()
    def start(self, x: Tensor, *, seed: int, iterations: int = 25) -> None:
        """Set the codebooks by k-means on `x` `[row, dim]` and on the residuals of each level (at least as many rows as codes)."""
        for level, codebook in enumerate(self.codebooks):
            centroids, assignment = kmeans(x, len(codebook), seed=seed + level, iterations=iterations)
            codebook.copy_(centroids)
            x = x - centroids[assignment]

    @torch.no_grad()
    def revive(self, x: Tensor, dead: Sequence[Tensor], *, generator: torch.Generator) -> int:
        """Move the codes that `dead` (bool `[size]` per level) marks to residuals of random rows of `x`; returns how many moved."""
        moved = 0
        for codebook, mask in zip(self.codebooks, dead, strict=True):
            count = int(mask.sum())
            if count:
                rows = torch.randint(len(x), (count,), generator=generator).to(x.device)
                codebook[mask] = x[rows]
                moved += count
            x = x - codebook[nearest(x, codebook)[0]]
        return moved
