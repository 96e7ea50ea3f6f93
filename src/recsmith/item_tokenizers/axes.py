"""Principal axes of item vectors: the directions that the clustering tokenizers keep."""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS = 65_536


def principal_axes(vectors: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean `[dim]` and the `count` orthonormal directions of most variance, `[dim, count]`, strongest first.

    With `count` at or above dim the vectors are only centred: the axes are then the identity.
    """
    mean = vectors.mean(0)
    dim = vectors.shape[1]
    if count >= dim:
        return mean, torch.eye(dim)
    covariance = torch.zeros(dim, dim, dtype=torch.float64)
    for part in vectors.split(_ROWS):
        centred = (part - mean).double()
        covariance += centred.T @ centred
    axes = torch.linalg.eigh(covariance)[1].flip(1)[:, :count]
    return mean, axes.float().contiguous()
