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
    words: tuple[str, ...] = ()
    """What each code spells, whatever its level (but the last), where ids are words: code 0 ends an id. Empty: codes have no words."""

    def __post_init__(self) -> None:
        if self.table.ndim != 2 or self.table.shape[1] != len(self.sizes):
            raise ValueError(f"codes of shape {self.table.shape} do not have {len(self.sizes)} levels")
        if len(self.table) and ((self.table < 0).any() or (self.table.max(axis=0) >= np.array(self.sizes)).any()):
            raise ValueError(f"codes are outside 0 … size - 1 for level sizes {self.sizes}")
        if self.words and any(size != len(self.words) for size in self.sizes[:-1]):
            raise ValueError(f"{len(self.words)} words do not spell the codes of levels of sizes {self.sizes[:-1]}")

    def __len__(self) -> int:
        return len(self.table)

    @property
    def levels(self) -> int:
        """Number of codes per item, the collision level included."""
        return len(self.sizes)

    def spelled(self) -> list[str]:
        """Each item's id as text; empty texts where codes have no words."""
        if not self.words:
            return [""] * len(self)
        return ["".join(self.words[code] for code in row if code).strip() for row in self.table[:, :-1].tolist()]
