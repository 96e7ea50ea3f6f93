"""`NeighbourTable`: which items the same people took, counted, as buffers of a module."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

_BLOCK = 2048


class NeighbourTable(nn.Module):
    """For each item the `size` items that most people took besides, and how many: int64 `[item, size]`; -1 and 0 behind the last."""

    neighbours: Tensor
    people: Tensor

    def __init__(self, items: int, size: int) -> None:
        super().__init__()
        self.register_buffer("neighbours", torch.full((items, size), -1, dtype=torch.int64))
        self.register_buffer("people", torch.zeros((items, size), dtype=torch.int64))

    def fit(self, values: np.ndarray, offsets: np.ndarray) -> None:
        """Count from packed rows: row r took `values[offsets[r]:offsets[r + 1]]`. Of equal counts the smaller item comes first."""
        items, size = self.neighbours.shape
        ones = np.ones(len(values), dtype=np.float32)
        taken = sparse.csr_array((ones, values.copy(), offsets.copy()), shape=(len(offsets) - 1, items))
        taken.sum_duplicates()
        taken.data[:] = 1
        by_item = taken.T.tocsr()
        self.neighbours.fill_(-1)
        self.people.zero_()
        for start in range(0, items, _BLOCK):
            shared = (by_item[start : start + _BLOCK] @ taken).tocsr()
            for row in range(shared.shape[0]):
                entries = slice(shared.indptr[row], shared.indptr[row + 1])
                self._keep(start + row, shared.indices[entries], shared.data[entries], size)

    def _keep(self, item: int, others: np.ndarray, counts: np.ndarray, size: int) -> None:
        apart = others != item
        others, counts = others[apart], counts[apart]
        order = np.lexsort((others, -counts))[:size]
        self.neighbours[item, : len(order)] = torch.from_numpy(others[order].astype(np.int64))
        self.people[item, : len(order)] = torch.from_numpy(counts[order].astype(np.int64))
