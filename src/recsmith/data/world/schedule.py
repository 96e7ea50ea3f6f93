"""When people come: how many events each has, in which weeks, and at what second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsmith.data.histories import offsets_of
from recsmith.data.world.parameters import WorldParameters
from recsmith.errors import UserError
from recsmith.seeding import generator

SESSION_BREAK = 3600
"""Two events of a person further apart than this, in seconds, are in different sessions; inside a session gaps are far smaller."""

_LONGEST_SESSION = 6 * 3600


@dataclass(frozen=True)
class Schedule:
    """Empty places for events, by user and then by time; nobody has two sessions in one slot (a week, unless people are very busy)."""

    user: np.ndarray
    """int64 `[event]`, ascending."""
    offsets: np.ndarray
    """Events of user u are `offsets[u]:offsets[u + 1]`; int64 `[user + 1]`."""
    slot: np.ndarray
    """int64 `[event]`."""
    place: np.ndarray
    """Position of the event in its session, from 0; int64 `[event]`."""
    time: np.ndarray
    """Seconds since the epoch, int64 `[event]`."""
    slots: int
    slot_seconds: int
    start: int

    def progress(self, slot: np.ndarray) -> np.ndarray:
        """Share of the world that is over in a slot, 0 … 1."""
        return np.clip(slot, 0, self.slots - 1) / max(1, self.slots - 1)

    def slot_of(self, time: np.ndarray) -> np.ndarray:
        """Slot of a time in seconds; times outside the world are moved to its ends."""
        slot = (np.asarray(time, dtype=np.float64) - self.start) // self.slot_seconds
        return np.clip(slot, 0, self.slots - 1).astype(np.int64)


def make_schedule(users: int, events: int, most: int, parameters: WorldParameters, seed: int) -> Schedule:
    """Places for exactly `events` events; nobody has fewer than `least_events` or more than `most`."""
    random = generator(seed, "world", "schedule")
    counts = _counts(users, events, most, parameters, random)
    offsets = offsets_of(counts)
    user = np.repeat(np.arange(users), counts)
    opens = random.random(events) >= parameters.stay
    opens[offsets[:-1]] = True
    session = np.cumsum(opens) - 1
    first = np.flatnonzero(opens)
    place = np.arange(events) - first[session]
    sessions = np.bincount(user[first], minlength=users)
    slots = max(parameters.weeks, int(sessions.max()))
    slot_seconds = max(parameters.weeks * 7 * 86_400 // slots, 2 * _LONGEST_SESSION)
    slot = _slots(user[first], sessions, slots, random)[session]
    begin = (random.random(len(first)) * (slot_seconds - _LONGEST_SESSION)).astype(np.int64)[session]
    gaps = np.where(random.random(events) < parameters.tie, 0, 20 + 580 * random.random(events) ** 2).astype(np.int64)
    gaps[opens] = 0
    elapsed = np.cumsum(gaps)
    elapsed -= elapsed[first][session]
    time = parameters.start + slot * slot_seconds + begin + np.minimum(elapsed, _LONGEST_SESSION - 1)
    return Schedule(user, offsets, slot, place, time, slots, slot_seconds, parameters.start)


def _counts(users: int, events: int, most: int, parameters: WorldParameters, random: np.random.Generator) -> np.ndarray:
    """Log-normal activity, scaled by bisection so that the whole parts sum to `events` after a last correction by hand."""
    least = parameters.least_events
    if not users * least <= events <= users * most:
        raise UserError(
            f"{events} events do not fit {users} users: each needs {least} … {most}"
            f" (half of the items at most), so ask for {users * least} … {users * most} events"
        )
    activity = np.exp(parameters.activity_spread * random.standard_normal(users))
    most = max(-(-events // users), min(most, int(parameters.most_over_mean * events / users)))
    low, high = 0.0, 1.0
    while np.clip(activity * high, least, most).astype(np.int64).sum() < events and high < 1e12:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        enough = np.clip(activity * middle, least, most).astype(np.int64).sum() >= events
        low, high = (low, middle) if enough else (middle, high)
    counts = np.clip(activity * low, least, most).astype(np.int64)
    while (missing := events - int(counts.sum())) > 0:
        counts[np.flatnonzero(counts < most)[:missing]] += 1
    return counts


def _slots(user: np.ndarray, sessions: np.ndarray, slots: int, random: np.random.Generator) -> np.ndarray:
    """A different slot for each session of a user, ascending, inside a stretch of the world that is the user's own."""
    users = len(sessions)
    stretch = sessions + ((slots - sessions) * np.sqrt(random.random(users))).astype(np.int64)
    begin = ((slots - stretch + 1) * random.random(users)).astype(np.int64)
    uniform = random.random(len(user))
    uniform = uniform[np.lexsort((uniform, user))]
    rank = np.arange(len(user)) - np.repeat(np.cumsum(sessions) - sessions, sessions)
    return begin[user] + rank + (uniform * (stretch - sessions + 1)[user]).astype(np.int64)
