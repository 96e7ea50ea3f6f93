"""`WrittenEvents`: events that a generator wrote for training. They stand beside the log and are part of no split, case or statistic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from recsmith.data.histories import Histories, join_histories, offsets_of
from recsmith.data.split import Log, SplitConfig
from recsmith.errors import DataError

_COLUMNS = {"user_id": (pl.Int64, pl.String), "item_id": (pl.Int64, pl.String), "enters": (pl.Int64,)}
_WHOLE = ("session-prefixes", "next-basket", "explicit-rating")
"""Splits whose rows are sessions, baskets or ratings, in which an event before a person's own has no place."""


@dataclass(frozen=True, eq=False)
class WrittenEvents:
    """Extra events for training, each person's before the first of their own, and who wrote them from what.

    Raises `DataError` for a table without the columns.
    """

    events: pl.DataFrame
    """`user_id`, `item_id`, and `enters`: the epoch of training, counted from 0, from which an event takes part. A person's in order."""
    facts: dict[str, Any]
    """`writer`, `settings`, `seed`, `source` (content hash of the selected log), `split` (hash of the split) and figures of the writer."""

    def __post_init__(self) -> None:
        for column, types in _COLUMNS.items():
            if self.events.schema.get(column) not in types:
                raise DataError(f"written events need a column `{column}` of type {' or '.join(map(str, types))}; write them again")

    @classmethod
    def of(cls, rows: Histories, enters: np.ndarray, log: Log, facts: dict[str, Any]) -> WrittenEvents:
        """From item indices, one row per user of the log, and the epoch int64 `[event]` in which each enters."""
        events = pl.DataFrame({
            "user_id": log.users.ids.gather(rows.rows),
            "item_id": log.items.ids.gather(rows.values),
            "enters": enters.astype(np.int64),
        })  # fmt: skip
        return cls(events, facts)

    def require(self, *, source: str, split: SplitConfig) -> None:
        """Raise `DataError` where the events were not written from the training part of exactly this data under this split."""
        if self.facts.get("source") != source or self.facts.get("split") != split.hash:
            raise DataError(
                f"the events that `{self.facts.get('writer')}` wrote come from another selection or split of this data, where what is held "
                "out here may have been training; write them for this recipe: recsmith augment WRITER --for RECIPE"
            )

    def lessons(self, train: Histories, log: Log) -> tuple[Histories, np.ndarray]:
        """What a model is to learn from: `before`, or the written events alone where the facts say `instead` (a condensed log)."""
        rows, enters = self.before(train, log)
        if not self.facts.get("instead"):
            return rows, enters
        place = np.arange(len(rows.values)) - rows.offsets[:-1][rows.rows]
        kept = place < (rows.lengths - train.lengths)[rows.rows]
        return rows.where(kept), enters[kept]

    def before(self, train: Histories, log: Log) -> tuple[Histories, np.ndarray]:
        """The training histories with the written events in front, and the epoch in which each event enters, int64 `[event]`.

        Where events have times, the written ones go back from a person's first in steps of the median gap of the log; where they have
        weights, the written ones have the median weight. Raises `DataError` for people or items that the log does not have.
        """
        users, items = log.users.indices(self.events["user_id"]), log.items.indices(self.events["item_id"])
        if min(users.min(initial=0), items.min(initial=0)) < 0:
            raise DataError("written events name people or items that the log does not have; write them again")
        order = np.argsort(users, kind="stable")
        offsets = offsets_of(np.bincount(users, minlength=len(train)).astype(np.int64))
        written = Histories(items[order], offsets)
        written = Histories(written.values, offsets, _times(written, train), _weights(written, train))
        every = np.arange(len(train))
        joined = join_histories(len(train), (every, written), (every, train))
        enters = Histories(self.events["enters"].to_numpy()[order], offsets)
        own = Histories(np.zeros(len(train.values), dtype=np.int64), train.offsets)
        return joined, enters.append(own).values


def require_single_events(split: SplitConfig) -> None:
    """Raise `DataError` for a split in which single events before a person's own have no place."""
    if split.name in _WHOLE:
        raise DataError(
            f"split `{split.name}` trains on sessions, baskets or ratings, and writers write single events without them; "
            "use another split (leave-one-out, ratio, strong-generalisation, …) or no [augmentation]"
        )


def _times(written: Histories, train: Histories) -> np.ndarray | None:
    if train.times is None:
        return None
    inside = np.flatnonzero(np.diff(train.rows) == 0) + 1
    gaps = train.times[inside] - train.times[inside - 1]
    step = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1.0
    first = train.times[np.minimum(train.offsets[:-1], len(train.times) - 1)]
    back = np.repeat(written.offsets[1:], written.lengths) - np.arange(len(written.values))
    return first[written.rows] - step * back


def _weights(written: Histories, train: Histories) -> np.ndarray | None:
    return None if train.weights is None else np.full(len(written.values), np.median(train.weights), dtype=np.float32)
