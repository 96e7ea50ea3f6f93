"""Questions that are answered by yes or no, about events and about items that took their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import followed_events

ANSWERS = ("Yes", "No")
"""What is answered."""
Question = tuple[int, int, int, str]
"""Row of a batch, the place in the batch of the event that is asked about, the item that is named, and the answer."""

_TRIES = 20


def yes_or_no(
    batch: HistoryBatch, count: int, random: np.random.Generator, *, others: Callable[[int, int], Sequence[int]]
) -> Iterator[Question]:
    """About `count` random events that something precedes; half of the time another item is named, which the person has not taken.

    `others(item, tries)` proposes such items; where all are taken, the event's own is named.
    """
    for row, event in followed_events(batch, count, random):
        taken = set(batch.items[batch.offsets[row] : batch.offsets[row + 1]].tolist())
        item = int(batch.items[event])
        free = [one for one in others(item, _TRIES) if one not in taken]
        yes = not free or bool(random.random() < 0.5)
        yield row, event, item if yes else free[0], ANSWERS[0 if yes else 1]
