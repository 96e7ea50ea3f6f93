"""Other shapes of a log: sparse matrix, popularity, sessions, baskets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from recsmith.data.histories import Histories, offsets_of
from recsmith.data.vocabulary import Vocabulary
from recsmith.errors import DataError

if TYPE_CHECKING:
    from scipy import sparse

    from recsmith.data.dataset import Dataset


@dataclass(frozen=True)
class Sessions:
    """A log cut into sittings: one row of `histories` per session, in order of user, then time."""

    users: Vocabulary
    items: Vocabulary
    histories: Histories
    rows: np.ndarray
    """User index of each session, int64 `[session]`."""


@dataclass(frozen=True)
class Baskets:
    """A log of sets: user u has the baskets `user_offsets[u]:user_offsets[u + 1]`, oldest first; basket b is row b of `baskets`."""

    users: Vocabulary
    items: Vocabulary
    baskets: Histories
    """Items of each basket, in file order."""
    user_offsets: np.ndarray
    """int64 `[user + 1]`."""

    def of_user(self, user: int) -> Histories:
        """The baskets of one user, one row each."""
        return self.baskets.slice(int(self.user_offsets[user]), int(self.user_offsets[user + 1]))


def popularity(histories: Histories, items: int) -> np.ndarray:
    """Number of events of each item, int64 `[item]`."""
    return np.bincount(histories.values, minlength=items).astype(np.int64)


def interaction_matrix(histories: Histories, items: int, *, values: Literal["binary", "count", "weight"] = "binary") -> sparse.csr_matrix:
    """Rows × items, float32: 1 where there is an event, or the number of events, or the sum of their weights (1 each without weights)."""
    from scipy import sparse  # here, because it takes longer to load than all the rest of `data`

    weighted = values == "weight" and histories.weights is not None
    data = histories.weights if weighted else np.ones(len(histories.values), dtype=np.float32)
    matrix = sparse.csr_matrix((data, histories.values, histories.offsets), shape=(len(histories), items), copy=True)
    matrix.sum_duplicates()
    if values == "binary":
        matrix.data[:] = 1.0
    return matrix


def sessions(dataset: Dataset, *, gap: float = 1800.0) -> Sessions:
    """Sessions by `session_id` where the log has it, else cut where a user pauses longer than `gap` seconds.

    With `session_id`, a session belongs to one user; the same id under two users makes two sessions. Raises `DataError` when the log has
    neither session ids nor times.
    """
    if "session_id" in dataset.interactions.columns:
        return _sessions_by_id(dataset)
    log = dataset.log()
    times = log.histories.times
    if times is None:
        raise DataError(f"{dataset.where} has neither session ids nor times; name a column: --columns session=visit or time=ts")
    rows = log.histories.rows
    starts = np.ones(len(rows), dtype=bool)
    starts[1:] = (rows[1:] != rows[:-1]) | (np.diff(times) > gap)
    offsets = np.append(np.flatnonzero(starts), len(rows)).astype(np.int64)
    histories = Histories(log.histories.values, offsets, times, log.histories.weights)
    return Sessions(log.users, log.items, histories, rows[starts].astype(np.int64))


def _sessions_by_id(dataset: Dataset) -> Sessions:
    """Each (user, session) pair is one row of a log of its own; sessions are ordered by user, then their first event."""
    events = dataset.interactions.with_row_index("row")
    time = "timestamp" if "timestamp" in events.columns else "row"
    ordered = events.sort("user_id", pl.col(time).min().over("user_id", "session_id"), "session_id", time, "row")
    users, items = dataset.codes.users, dataset.codes.items
    lengths = ordered.group_by("user_id", "session_id", maintain_order=True).len()
    times = ordered["timestamp"].to_numpy().astype(np.float64) if time == "timestamp" else None
    weights = ordered["rating"].fill_null(1.0).to_numpy().astype(np.float32) if "rating" in ordered.columns else None
    histories = Histories(
        dataset.codes.values[ordered["row"].to_numpy()], offsets_of(lengths["len"].cast(pl.Int64).to_numpy()), times, weights
    )
    return Sessions(users, items, histories, users.indices(lengths["user_id"]))


def baskets(dataset: Dataset, *, by: Literal["auto", "basket_id", "timestamp", "day"] = "auto") -> Baskets:
    """What one user took at once: the same `basket_id`, the same time, or the same day (UTC). "auto" takes the first that the log has.

    Baskets are in order of time (of the file without times). Raises `DataError` when the log has not what `by` asks for.
    """
    events = dataset.interactions.with_row_index("row")
    if by == "auto":
        by = "basket_id" if "basket_id" in events.columns else "timestamp"
    needed = "timestamp" if by == "day" else by
    if needed not in events.columns:
        raise DataError(f"{dataset.where} has no column `{needed}`, so baskets by {by!r} cannot be made; give times or basket ids")
    key = (pl.col("timestamp") // 86400 if by == "day" else pl.col(by)).alias("basket")
    time = "timestamp" if "timestamp" in events.columns else "row"
    ordered = events.with_columns(key).sort("user_id", pl.col(time).min().over("user_id", key), "basket", "row")
    users, items = dataset.codes.users, dataset.codes.items
    lengths = ordered.group_by("user_id", "basket", maintain_order=True).len()
    times = ordered["timestamp"].to_numpy().astype(np.float64) if time == "timestamp" else None
    packed = Histories(dataset.codes.values[ordered["row"].to_numpy()], offsets_of(lengths["len"].cast(pl.Int64).to_numpy()), times)
    per_user = np.bincount(users.indices(lengths["user_id"]), minlength=len(users)).astype(np.int64)
    return Baskets(users, items, packed, offsets_of(per_user))
