"""How an event comes about: the mixture that `WorldParameters` describes, drawn for all people of a slot at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsmith.data.world.catalogue import Shelf
from recsmith.data.world.parameters import WorldParameters
from recsmith.data.world.people import Friends, People
from recsmith.data.world.schedule import Schedule
from recsmith.seeding import generator

_ROUNDS = 200
"""Draws before a person who has seen nearly everything likely takes the first unseen work from a random place on."""


@dataclass(frozen=True)
class Process:
    """Everything that decides about events; `draw_events` runs it, the oracle computes with it."""

    shelf: Shelf
    people: People
    friends: Friends
    schedule: Schedule
    parameters: WorldParameters

    def draw_events(self, seed: int) -> np.ndarray:
        """Item index of every place of the schedule, int64 `[event]`; nobody has an item twice."""
        random = generator(seed, "world", "events")
        schedule = self.schedule
        draw = _Draw(self, random)
        order = np.lexsort((schedule.user, schedule.place, schedule.slot))
        step = schedule.slot[order] * (schedule.place.max() + 1) + schedule.place[order]
        cuts = np.flatnonzero(np.diff(step)) + 1
        for events in np.split(order, cuts):
            draw.step(events)
        return draw.items


class _Draw:
    """The state while events are drawn: what everybody has had so far."""

    def __init__(self, process: Process, random: np.random.Generator) -> None:
        self.process = process
        self.random = random
        self.items = np.full(len(process.schedule.user), -1, dtype=np.int64)
        self.last = np.full(len(process.people), -1, dtype=np.int64)
        self.tastes = np.zeros((0, 0))
        self.rows = np.zeros(len(process.people), dtype=np.int64)
        # Works laid out cluster by cluster: a draw inside a cluster is a search in one long cumulative sum.
        shelf = process.shelf
        self.layout = np.argsort(shelf.cluster, kind="stable")
        self.cumulative = np.cumsum(shelf.popularity[self.layout])
        ends = np.cumsum(np.bincount(shelf.cluster, minlength=len(shelf.cluster_genre)))
        self.starts = np.concatenate([[0], ends[:-1]])
        self.ends = ends

    def step(self, events: np.ndarray) -> None:
        """Fill places that share slot and position in the session (so: at most one per person)."""
        schedule = self.process.schedule
        users = schedule.user[events]
        if schedule.place[events[0]] == 0:
            progress = schedule.progress(schedule.slot[events])
            self.tastes = np.cumsum(
                self.process.people.cluster_tastes(users, progress, self.process.shelf, self.process.parameters), axis=1
            )
            self.rows[users] = np.arange(len(users))
        waiting = np.arange(len(events))
        chosen = np.full(len(events), -1, dtype=np.int64)
        inside = schedule.place[events[0]] > 0
        for _ in range(_ROUNDS):
            candidates = self._candidates(users[waiting], inside)
            fresh = ~self._seen(events[waiting], candidates)
            chosen[waiting[fresh]] = candidates[fresh]
            waiting = waiting[~fresh]
            if not len(waiting):
                break
        for row in waiting:
            chosen[row] = self._any_unseen(events[row])
        self.items[events] = chosen
        self.last[users] = chosen

    def _candidates(self, users: np.ndarray, inside: bool) -> np.ndarray:
        """One draw of the mixture for each user; may be something already seen."""
        parameters, shelf = self.process.parameters, self.process.shelf
        choice, detail = self.random.random(len(users)), self.random.random(len(users))
        last = self.last[users]
        result = self._by_taste(users, detail)
        next_volume = np.where(last >= 0, shelf.next_volume[last], -1)
        edge = parameters.next_volume
        _take(result, next_volume, choice < edge)
        if not inside:
            _take(result, self._of_friend(users, detail), (choice >= edge) & (choice < edge + parameters.friend))
            return result
        complement = (choice >= edge) & (choice < edge + parameters.complement)
        _take(result, self._complement(last, detail), complement)
        edge += parameters.complement
        mood = (choice >= edge) & (choice < edge + parameters.mood)
        result[mood] = self._in_cluster(shelf.cluster[last[mood]], self.random.random(int(mood.sum())))
        return result

    def _by_taste(self, users: np.ndarray, detail: np.ndarray) -> np.ndarray:
        tastes = self.tastes[self.rows[users]]
        cluster = np.minimum((tastes < detail[:, None]).sum(axis=1), tastes.shape[1] - 1)
        return self._in_cluster(cluster, self.random.random(len(users)))

    def _in_cluster(self, cluster: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        first, last = self.starts[cluster], self.ends[cluster] - 1
        below = np.where(first > 0, self.cumulative[first - 1], 0.0)
        position = np.searchsorted(self.cumulative, below + uniform * (self.cumulative[last] - below), side="right")
        return self.layout[np.clip(position, first, last)]

    def _of_friend(self, users: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        friends = self.process.friends
        counts = friends.counts[users]
        if not len(friends.ids):
            return np.full(len(users), -1, dtype=np.int64)
        position = np.minimum(friends.offsets[users] + (uniform * counts).astype(np.int64), len(friends.ids) - 1)
        return np.where(counts > 0, self.last[friends.ids[position]], -1)

    def _complement(self, last: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        shelf, size = self.process.shelf, self.process.parameters.bundle_size
        if not len(shelf.bundle_items):
            return np.full(len(last), -1, dtype=np.int64)
        members = shelf.bundle_items[shelf.bundle[last]]
        # Any of the other members: one of the size - 1 places after the place of `last`, round and round.
        place = (members == last[:, None]).argmax(axis=1)
        other = members[np.arange(len(last)), (place + 1 + (uniform * (size - 1)).astype(np.int64)) % size]
        return np.where(shelf.bundle[last] >= 0, other, -1)

    def _seen(self, events: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Whether each person has had the candidate before the event in question."""
        begin = self.process.schedule.offsets[self.process.schedule.user[events]]
        lengths = events - begin
        rows = np.repeat(np.arange(len(events)), lengths)
        index = np.arange(len(rows)) + np.repeat(begin - (np.cumsum(lengths) - lengths), lengths)
        same = self.items[index] == candidates[rows]
        seen = np.zeros(len(events), dtype=bool)
        seen[rows[same]] = True
        return seen

    def _any_unseen(self, event: int) -> int:
        begin = self.process.schedule.offsets[self.process.schedule.user[event]]
        free = np.setdiff1d(np.arange(len(self.process.shelf)), self.items[begin:event])
        return int(free[int(self.random.random() * len(free))])


def _take(result: np.ndarray, proposal: np.ndarray, wanted: np.ndarray) -> None:
    """Use the proposal where it is wanted and exists; elsewhere the draw by taste stands."""
    use = wanted & (proposal >= 0)
    result[use] = proposal[use]
