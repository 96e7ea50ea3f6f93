"""Checks of vectors on their way into an index."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsmith.errors import DataError


def checked_vectors(vectors: Any, *, dim: int | None, what: str) -> np.ndarray:
    """Contiguous float32 `[row, dim]`; raises `DataError` for another shape or numbers that are not finite."""
    array = np.ascontiguousarray(vectors, dtype=np.float32)
    if array.ndim != 2 or (dim is not None and array.shape[1] != dim):
        wanted = "[row, dim]" if dim is None else f"[row, {dim}]"
        raise DataError(f"{what} have shape {array.shape}, expected {wanted}; encode them with the encoder of the index")
    if not np.isfinite(array).all():
        raise DataError(f"{what} hold numbers that are not finite (row {int(np.flatnonzero(~np.isfinite(array).all(1))[0])}); encode again")
    return array
