"""What every tokenizer checks about the vectors it is given."""

from __future__ import annotations

import numpy as np

from recsmith.errors import DataError


def checked_vectors(vectors: np.ndarray, *, dim: int | None = None) -> np.ndarray:
    """The vectors as contiguous float32 `[item, dim]`; raises `DataError` when they are empty, not finite, or of another length."""
    array = np.asarray(vectors)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        raise DataError(f"item vectors of shape {array.shape} and type {array.dtype}; expected a non-empty table [item, dim] of numbers")
    if dim is not None and array.shape[1] != dim:
        raise DataError(f"item vectors have {array.shape[1]} numbers, the tokenizer was fitted on {dim}; use the same encoder")
    array = np.array(array, dtype=np.float32, order="C")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise DataError(f"item vectors of {len(bad)} items are not finite, the first is row {bad[0]}; remove or fill them before fitting")
    return array
