"""Packed rows read as sets: each row's distinct values."""

from __future__ import annotations

import torch
from torch import Tensor

from recsmith.nn.packed import offsets_from, row_ids


def distinct(values: Tensor, offsets: Tensor, *, size: int) -> tuple[Tensor, Tensor]:
    """The rows without repetition and in ascending order, packed again as `(values, offsets)`; values lie in 0 … size - 1."""
    keys = torch.unique(row_ids(offsets, tokens=len(values)) * size + values)
    return keys % size, offsets_from(torch.bincount(keys // size, minlength=len(offsets) - 1))
