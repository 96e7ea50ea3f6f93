"""EASE: a linear item-to-item model with a closed-form solution (Steck 2019)."""

from __future__ import annotations

import os
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from scipy.linalg import lapack
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.errors import UserError
from recsmith.nn.bags import distinct
from recsmith.protocols import HistoryBatch

_BLOCK = 1024


class EaseConfig(Config):
    """Settings of EASE."""

    regularisation: float = Field(default=100.0, gt=0)
    """Strength of the L2 penalty, in users per item: what is added to each item's count before the inversion."""
    max_items: int = Field(default=40_000, gt=0)
    """Largest catalogue to accept, in items; time grows with its third power and memory with its square."""


class Ease(nn.Module):
    """EASE^R: `scores = x B`, where `B` has a zero diagonal and minimises `|X - X B|² + regularisation · |B|²`.

    Paper: Harald Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019. With `P = (XᵀX + regularisation · I)⁻¹`
    the solution is `B[i, j] = -P[i, j] / P[j, j]` off the diagonal.

    Cost: about `items³` multiplications in float64. Memory: `items² × 8` bytes for the inversion, which happens in place, plus
    `items² × 4` for the weights, which stay (12,101 items: 1.2 GB and 0.6 GB). The training rows stay sparse.

    Deviations: none in the model; an item counts once per person, however often it occurs, in training and in answers.
    """

    Config: ClassVar[type[EaseConfig]] = EaseConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["closed-form"]] = "closed-form"
    weights: Tensor

    def __init__(self, config: EaseConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = items
        _check_size(items, config.max_items)
        self.register_buffer("weights", torch.zeros(items, items))

    def solve(self, histories: Histories) -> None:
        """Invert the item-item matrix in float64 and keep the weights in float32."""
        gram = _gram(histories, self.items)
        gram[np.diag_indices(self.items)] += self.config.regularisation
        _fill_weights(_invert(gram), self.weights)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the sum of the weight rows of the distinct items in each history."""
        items, offsets = distinct(batch.items, batch.offsets, size=self.items)
        return functional.embedding_bag(items, self.weights, offsets, mode="sum", include_last_offset=True)


def _check_size(items: int, max_items: int) -> None:
    if items > max_items:
        raise UserError(
            f"EASE was given {items:,} items and `max_items` allows {max_items:,}; "
            "filter rare items, raise `max_items`, or use `item-knn`, which stays sparse"
        )
    needed, memory = 12 * items**2, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise UserError(
            f"EASE needs {needed / 2**30:.1f} GiB for {items:,} items and this machine has {memory / 2**30:.1f}; "
            "filter rare items or use `item-knn`, which stays sparse"
        )


def _gram(histories: Histories, items: int) -> np.ndarray:
    """How many people have both items, float64 `[item, item]`, in Fortran order."""
    matrix = sparse.csr_array(
        (np.ones(len(histories.values)), histories.values.copy(), histories.offsets.copy()), shape=(len(histories), items)
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return (matrix.T @ matrix).toarray(order="F")


def _invert(gram: np.ndarray) -> np.ndarray:
    """The lower triangle of the inverse of a positive definite matrix, in the memory of `gram`."""
    factor, failed = lapack.dpotrf(gram, lower=1, overwrite_a=1)
    if failed:
        raise UserError("EASE could not factorise the item-item matrix; raise `regularisation`")
    inverse, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)
    return inverse


def _fill_weights(inverse: np.ndarray, weights: Tensor) -> None:
    """Write `-P[i, j] / P[j, j]`, diagonal 0, into `weights`, block by block from the lower triangle of `P`."""
    count = len(inverse)
    scale = -1.0 / np.diag(inverse)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        corner = np.tril(inverse[start:stop, start:stop], -1)
        block = np.concatenate([inverse[start:stop, :start], corner + corner.T, inverse[stop:, start:stop].T], axis=1)
        weights[start:stop] = torch.from_numpy((block * scale).astype(np.float32))
