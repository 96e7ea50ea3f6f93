"""What candidate sources are asked: histories, people, words, and what may be answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from recsmith.data import Histories
from recsmith.protocols import Limits, RankedLists


@dataclass(frozen=True)
class Question:
    """One row per person asked for."""

    histories: Histories
    """What each person had, by item number, oldest first; rows may be empty."""
    users: np.ndarray | None = None
    """User index of each row, -1 for strangers; int64 `[row]`."""
    words: Sequence[str] | None = None
    """What each person says, "" for nothing; None when nobody speaks."""
    limits: Limits = field(default_factory=Limits)
    """What may be answered, by item number."""

    def __len__(self) -> int:
        return len(self.histories)


Source = Callable[[Question, int], RankedLists]
"""The k best items of each row by one way of looking, within the question's limits; lists may be short (-1)."""

Reranker = Callable[[Question, RankedLists], RankedLists]
"""The same items of each row in a better order, perhaps fewer of them."""
