"""`Histories`: ragged rows of events packed end to end, no padding; and what an evaluation asks about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Histories:
    """Rows of events, oldest first: row r is `values[offsets[r]:offsets[r + 1]]`."""

    values: np.ndarray
    """Item index of each event, int64 `[event]`."""
    offsets: np.ndarray
    """int64 `[row + 1]`, starting with 0."""
    times: np.ndarray | None = None
    """Seconds since the epoch, float64 `[event]`."""
    weights: np.ndarray | None = None
    """Rating or strength, float32 `[event]`."""

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int]]) -> Histories:
        """Pack lists of item indices."""
        arrays = [np.asarray(row, dtype=np.int64).reshape(-1) for row in rows]
        lengths = np.array([len(array) for array in arrays], dtype=np.int64)
        values = np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.int64)
        return cls(values, offsets_of(lengths))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of events of each row, int64 `[row]`."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> np.ndarray:
        """Row of each event, int64 `[event]`."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def row(self, index: int) -> np.ndarray:
        """The items of one row."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def take(self, rows: np.ndarray) -> Histories:
        """The given rows, in the given order."""
        rows = np.asarray(rows, dtype=np.int64)
        return self._gather(self.offsets[rows], self.lengths[rows])

    def slice(self, start: int, stop: int) -> Histories:
        """Rows `start:stop`, without copying events."""
        first, last = self.offsets[start], self.offsets[min(stop, len(self))]
        events = slice(first, last)
        return Histories(self.values[events], self.offsets[start : stop + 1] - first, *(_part(x, events) for x in self._extras()))

    def tail(self, length: int) -> Histories:
        """The last `length` events of each row."""
        kept = np.minimum(self.lengths, length)
        return self._gather(self.offsets[1:] - kept, kept)

    def drop_last(self, count: int = 1) -> Histories:
        """Each row without its last `count` events."""
        return self._gather(self.offsets[:-1], np.maximum(self.lengths - count, 0))

    def append(self, other: Histories) -> Histories:
        """Row by row: this row's events, then the other's."""
        if len(self) != len(other):
            raise ValueError(f"cannot append {len(other)} rows to {len(self)}")
        every = np.arange(len(self))
        return join_histories(len(self), (every, self), (every, other))

    def where(self, keep: np.ndarray) -> Histories:
        """Only the events with `keep` true (bool `[event]`); the number of rows stays."""
        lengths = np.bincount(self.rows[keep], minlength=len(self)).astype(np.int64)
        return Histories(self.values[keep], offsets_of(lengths), *(_part(x, keep) for x in self._extras()))

    def with_values(self, values: np.ndarray) -> Histories:
        """The same shape with other item indices."""
        return replace(self, values=values)

    def _extras(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        return self.times, self.weights

    def _arrays(self) -> tuple[np.ndarray | None, ...]:
        return self.values, self.times, self.weights

    def _gather(self, starts: np.ndarray, lengths: np.ndarray) -> Histories:
        offsets = offsets_of(lengths)
        index = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Histories(self.values[index], offsets, *(_part(x, index) for x in self._extras()))


@dataclass(frozen=True)
class Cases:
    """What an evaluation asks: given these histories, what came next?"""

    users: np.ndarray
    """User index of each case, -1 for people unseen in training; int64 `[case]`."""
    histories: Histories
    """What may be looked at; also what is masked, unless the task repeats items."""
    targets: Histories
    """What was held out, at least one item a row."""

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: np.ndarray) -> Cases:
        """The given cases, in the given order."""
        return Cases(self.users[rows], self.histories.take(rows), self.targets.take(rows))


def join_histories(rows: int, *parts: tuple[np.ndarray, Histories]) -> Histories:
    """Histories of `rows` rows out of parts `(target row of each row, histories)`; a row's events follow in the order of the parts."""
    target = np.concatenate([where[part.rows] for where, part in parts])
    order = np.argsort(target, kind="stable")
    arrays = [
        None if any(array is None for array in column) else np.concatenate(column)[order]
        for column in zip(*(part._arrays() for _, part in parts), strict=True)
    ]
    assert arrays[0] is not None
    return Histories(arrays[0], offsets_of(np.bincount(target, minlength=rows).astype(np.int64)), arrays[1], arrays[2])


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Lengths `[row]` → offsets `[row + 1]`."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _part(array: np.ndarray | None, index: np.ndarray | slice) -> np.ndarray | None:
    return None if array is None else array[index]
