"""The oracle: what a recommender could at best know about the next event, because it knows how the world works."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from recsmith.data.histories import Cases, Histories
from recsmith.data.split import Log
from recsmith.data.vocabulary import Vocabulary
from recsmith.data.world.process import Process
from recsmith.data.world.schedule import SESSION_BREAK
from recsmith.errors import UserError
from recsmith.protocols import RankedLists

_CHUNK_CELLS = 4_000_000


@dataclass(frozen=True)
class Oracle:
    """True probabilities of the next event, given who it is, when it is and what came before.

    It knows tastes, drift, popularity, order effects and what friends had lately; it does not know the dice. Indices of users and items
    are positions in the ascending ids of the world; `aligned` takes those of a log in which some never occur.
    """

    process: Process
    events: Histories
    """All events of the world, one row per user, with times: where the oracle looks up what friends had."""
    users: np.ndarray | None = None
    """World index of each user of the caller, None for the same; int64 `[user]`."""
    items: np.ndarray | None = None
    """World index of each item of the caller, None for the same; int64 `[item]`."""

    def aligned(self, log: Log) -> Oracle:
        """The same oracle, asked and answering in the indices of `log` (made from this world's data, perhaps filtered)."""
        frames = self.process.people.frame["user_id"], self.process.shelf.frame["item_id"]
        users, items = (_positions(ids, wanted.ids) for ids, wanted in zip(frames, (log.users, log.items), strict=True))
        return replace(self, users=users, items=items)

    def scores(self, users: np.ndarray, histories: Histories, times: np.ndarray | None = None) -> np.ndarray:
        """Probability of each item to be the next event, float32 `[case, item]`; 0 for what the history holds.

        `users`: index `[case]`, -1 for a person of average taste without friends. `times`: when the next event happens, seconds `[case]`;
        without it the oracle does not know whether the session goes on, and weighs both cases.
        """
        rows = [slice(start, start + self._rows_at_once()) for start in range(0, len(users), self._rows_at_once())]
        parts = [self._scores(users[r], histories.slice(r.start, r.stop), None if times is None else times[r]) for r in rows]
        return np.concatenate(parts) if parts else np.zeros((0, self._item_count()), dtype=np.float32)

    def answer(self, cases: Cases, k: int) -> RankedLists:
        """The k most probable items of each case without those in its history, ties by the smaller index; an `Answer`."""
        items = np.full((len(cases), k), -1, dtype=np.int64)
        scores = np.full((len(cases), k), -np.inf, dtype=np.float32)
        kept = min(k, self._item_count())
        step = self._rows_at_once()
        for start in range(0, len(cases), step):
            rows = slice(start, min(start + step, len(cases)))
            histories = cases.histories.slice(rows.start, rows.stop)
            dense = self._scores(cases.users[rows], histories, None)
            dense[histories.rows, histories.values] = -np.inf
            items[rows, :kept], scores[rows, :kept] = _top(dense, kept)
        items[np.isneginf(scores)] = -1
        return RankedLists(items, scores)

    def _rows_at_once(self) -> int:
        return max(1, _CHUNK_CELLS // len(self.process.shelf))

    def _item_count(self) -> int:
        return len(self.process.shelf) if self.items is None else len(self.items)

    def _scores(self, users: np.ndarray, histories: Histories, times: np.ndarray | None) -> np.ndarray:
        if self.users is not None:
            users = np.where(users < 0, -1, self.users[users])
        if self.items is not None:
            histories = histories.with_values(self.items[histories.values])
        dense = _Question(self, users, histories, times).probabilities()
        return dense if self.items is None else dense[:, self.items]


class _Question:
    """A few cases in world indices, and the two mixtures (session goes on, new session) that may answer each."""

    def __init__(self, oracle: Oracle, users: np.ndarray, histories: Histories, times: np.ndarray | None) -> None:
        self.process, self.events = oracle.process, oracle.events
        self.users, self.histories = users, histories
        ends = histories.offsets[1:] - 1
        filled = histories.lengths > 0
        self.last = np.where(filled, histories.values[ends], -1) if len(histories.values) else np.full(len(users), -1)
        self.last_time = self._last_times(ends, filled)
        self.stays = np.where(filled, self.process.parameters.stay, 0.0)
        self.slot = self.process.schedule.slot_of(self.last_time)
        if times is not None:
            self.stays = (filled & (times - self.last_time < SESSION_BREAK)).astype(np.float64)
            self.slot = self.process.schedule.slot_of(times)
        self.times = times

    def _last_times(self, ends: np.ndarray, filled: np.ndarray) -> np.ndarray:
        """Time of the last event of each history; without one, the end of the world."""
        schedule = self.process.schedule
        unknown = np.full(len(filled), float(schedule.start + schedule.slots * schedule.slot_seconds - 1))
        if self.histories.times is None or not len(self.histories.values):
            return unknown
        return np.where(filled, self.histories.times[ends], unknown)

    def probabilities(self) -> np.ndarray:
        """float32 `[case, item]`."""
        shelf, process = self.process.shelf, self.process
        tastes = process.people.cluster_tastes(self.users, process.schedule.progress(self.slot), shelf, process.parameters)
        clusters = np.zeros_like(tastes)
        extras = []
        for share, inside in ((self.stays, True), (1 - self.stays, False)):
            weights, rows, items, mass = self._mixture(tastes, inside=inside)
            left = self._unseen_mass(weights, rows, items, mass)
            scale = share / np.maximum(left, 1e-12)
            clusters += weights * scale[:, None]
            extras.append((rows, items, mass * scale[rows]))
        within = shelf.popularity / shelf.cluster_popularity[shelf.cluster]
        dense = clusters.astype(np.float32)[:, shelf.cluster]
        dense *= within.astype(np.float32)
        for rows, items, mass in extras:
            np.add.at(dense, (rows, items), mass.astype(np.float32))
        dense[self.histories.rows, self.histories.values] = 0
        return dense

    def _mixture(self, tastes: np.ndarray, *, inside: bool) -> tuple[np.ndarray, ...]:
        """Weight of each cluster `[case, cluster]` and single items with extra weight (row, item, mass), before anything is excluded."""
        parameters = self.process.parameters
        parts = [self._next_volumes(parameters.next_volume)]
        if inside:
            parts.append(self._complements(parameters.complement))
        else:
            parts.append(self._of_friends(parameters.friend))
        rows, items, mass = (np.concatenate(column) for column in zip(*parts, strict=True))
        by_taste = 1 - np.bincount(rows, weights=mass, minlength=len(self.users))
        known = self.last >= 0
        mood = np.where(known & inside, parameters.mood, 0.0)
        weights = tastes * (by_taste - mood)[:, None]
        weights[known, self.process.shelf.cluster[self.last[known]]] += mood[known]
        return weights, rows, items, mass

    def _unseen_mass(self, weights: np.ndarray, rows: np.ndarray, items: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Total probability of what the history does not hold: what redrawing until something is new divides by."""
        shelf, seen_rows, seen = self.process.shelf, self.histories.rows, self.histories.values
        count, width = len(self.users), len(shelf)
        keys = np.unique(seen_rows * width + seen)
        seen_rows, seen = keys // width, keys % width
        cluster = shelf.cluster[seen]
        used = weights[seen_rows, cluster] * shelf.popularity[seen] / shelf.cluster_popularity[cluster]
        blocked = np.isin(rows * width + items, keys)
        lost = np.bincount(seen_rows, used, count) + np.bincount(rows[blocked], mass[blocked], count)
        return 1 - lost

    def _next_volumes(self, mass: float) -> tuple[np.ndarray, ...]:
        following = np.where(self.last >= 0, self.process.shelf.next_volume[self.last], -1)
        rows = np.flatnonzero(following >= 0)
        return rows, following[rows], np.full(len(rows), mass)

    def _complements(self, mass: float) -> tuple[np.ndarray, ...]:
        shelf, size = self.process.shelf, self.process.parameters.bundle_size
        rows = np.flatnonzero(np.where(self.last >= 0, shelf.bundle[self.last], -1) >= 0)
        members = shelf.bundle_items[shelf.bundle[self.last[rows]]]
        others = members != self.last[rows, None]
        rows = np.repeat(rows, size - 1)
        return rows, members[others], np.full(len(rows), mass / (size - 1))

    def _of_friends(self, mass: float) -> tuple[np.ndarray, ...]:
        """What each friend had last before the slot of the question; without a time, before the slot after the last event."""
        friends, schedule = self.process.friends, self.process.schedule
        slot = self.slot if self.times is not None else self.slot + 1
        counts = np.where(self.users >= 0, friends.counts[self.users], 0)
        rows = np.repeat(np.arange(len(self.users)), counts)
        first = np.cumsum(counts) - counts
        ids = friends.ids[np.arange(len(rows)) + np.repeat(friends.offsets[self.users] - first, counts)]
        begin = schedule.start + slot[rows] * schedule.slot_seconds
        position = self._events_before(ids, begin)
        had = position > self.events.offsets[ids]
        rows, items = rows[had], self.events.values[position[had] - 1]
        return rows, items, mass / counts[rows]

    def _events_before(self, users: np.ndarray, times: np.ndarray) -> np.ndarray:
        """For each pair the position in `events` after the last event of the user before the time."""
        low, high = self.events.offsets[users], self.events.offsets[users + 1]
        assert self.events.times is not None
        while (open_ := low < high).any():
            middle = (low + high) // 2
            before = open_ & (self.events.times[np.minimum(middle, len(self.events.times) - 1)] < times)
            low, high = np.where(before, middle + 1, low), np.where(before | ~open_, high, middle)
        return low


def _positions(ids: pl.Series, wanted: pl.Series) -> np.ndarray:
    positions = Vocabulary(ids).indices(wanted)
    if (positions < 0).any():
        raise UserError("the log holds users or items that this world does not have; align the oracle with data of the same world")
    return positions


def _top(dense: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact top k of each row, ties by the smaller index."""
    if k < dense.shape[1]:
        edge = np.partition(dense, -k, axis=1)[:, -k]
        above, equal = dense > edge[:, None], dense == edge[:, None]
        room = k - above.sum(axis=1, keepdims=True)
        chosen = above | (equal & (np.cumsum(equal, axis=1) <= room))
        items = np.nonzero(chosen)[1].reshape(len(dense), k)
    else:
        items = np.broadcast_to(np.arange(k), dense.shape)
    scores = np.take_along_axis(dense, items, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(items, order, axis=1), np.take_along_axis(scores, order, axis=1)
