"""`Places`: which id stands at which place of an index, and which places are free again. Shared by all indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from recsmith.data import Histories
from recsmith.errors import UserError
from recsmith.protocols import Limits, RankedLists


class Places:
    """Ids in order of their adding. A removed id keeps its place, dead, until the index is packed."""

    def __init__(self, ids: np.ndarray | None = None, alive: np.ndarray | None = None) -> None:
        self.ids = np.zeros(0, dtype=np.int64) if ids is None else ids.astype(np.int64)
        self.alive = np.ones(len(self.ids), dtype=bool) if alive is None else alive.astype(bool)
        self._place = {int(number): place for place, number in enumerate(self.ids) if self.alive[place]}

    def __len__(self) -> int:
        """Ids that can be found."""
        return len(self._place)

    def add(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Give each of `ids` the next free place and return the places; raises `UserError` for an id that is there already or negative."""
        ids = np.asarray(ids, dtype=np.int64).reshape(-1)
        known = next((int(number) for number in ids if int(number) in self._place or number < 0), None)
        if known is not None:
            reason = "is negative" if known < 0 else "is in the index already; remove it first"
            raise UserError(f"id {known} {reason}")
        if len(np.unique(ids)) < len(ids):
            raise UserError("an id is given twice; each id stands for one entry")
        places = np.arange(len(self.ids), len(self.ids) + len(ids))
        self.ids = np.concatenate([self.ids, ids])
        self.alive = np.concatenate([self.alive, np.ones(len(ids), dtype=bool)])
        self._place.update(zip(ids.tolist(), places.tolist()))
        return places

    def remove(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Mark the places of `ids` as dead and return them; raises `UserError` for an unknown id, and then nothing is removed."""
        ids = np.unique(np.asarray(ids, dtype=np.int64).reshape(-1))
        unknown = next((int(number) for number in ids if int(number) not in self._place), None)
        if unknown is not None:
            raise UserError(f"id {unknown} is not in the index, so it cannot be removed")
        places = np.array([self._place.pop(int(number)) for number in ids], dtype=np.int64)
        self.alive[places] = False
        return places

    @property
    def dead_share(self) -> float:
        """Share of places that are dead."""
        return 1 - len(self._place) / len(self.ids) if len(self.ids) else 0.0

    def open_places(self, allowed: np.ndarray | None) -> np.ndarray:
        """Which places may be answered, bool `[place]`; `allowed` is bool `[id]`, and ids beyond its end are forbidden."""
        if allowed is None:
            return self.alive
        within = self.ids < len(allowed)
        found = self.alive & within
        found[within] &= np.asarray(allowed, dtype=bool)[self.ids[within]]
        return found

    def limits(self, limits: Limits) -> Limits:
        """The same limits by place instead of id."""
        return Limits(exclude=self._excluded(limits.exclude), allowed=self.open_places(limits.allowed))

    def _excluded(self, exclude: Histories | None) -> Histories | None:
        if exclude is None:
            return None
        return replace(exclude, values=np.array([self._place.get(int(number), -1) for number in exclude.values], dtype=np.int64))

    def by_id(self, lists: RankedLists) -> RankedLists:
        """Lists of places as lists of ids; -1 stays."""
        if not len(self.ids):
            return lists
        return RankedLists(np.where(lists.items >= 0, self.ids[lists.items], -1), lists.scores)
