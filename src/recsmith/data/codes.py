"""`ItemCodes`: every item as a short sequence of codes (its semantic ID)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ItemCodes:
    """Codes of all items. No two items share all their codes: the last level tells collisions apart where there are any."""

    table: np.ndarray
    """Code of each item at each level, int64 `[item, level]`; row = item index."""
    sizes: tuple[int, ...]
    """Number of codes at each level; `table[:, l] < sizes[l]`."""

    def __post_init__(self) -> None:
        if self.table.ndim != 2 or self.table.shape[1] != len(self.sizes):
            raise ValueError(f"codes of shape {self.table.shape} do not have {len(self.sizes)} levels")
        if len(self.table) and ((self.table < 0).any() or (self.table.max(axis=0) >= np.array(self.sizes)).any()):
            raise ValueError(f"codes are outside 0 … size - 1 for level sizes {self.sizes}")

    def __len__(self) -> int:
        return len(self.table)

    @property
    def levels(self) -> int:
        """Number of codes per item, the collision level included."""
        return len(self.sizes)
