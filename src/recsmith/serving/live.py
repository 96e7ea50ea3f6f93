"""What happened since the run was fitted, in memory: the live histories of recent visitors, and what is popular and trending."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsmith.serving.changes import Heat, NewEvent
from recsmith.serving.store import PastEvent


@dataclass
class LiveHistory:
    """The live events of one person. `version` changes whenever they do."""

    version: int
    events: list[PastEvent] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    """What was written about the person."""


NOTHING = LiveHistory(0)
"""What is known of somebody while the store cannot be asked."""

Read = Callable[[str], tuple[list[PastEvent], dict[str, Any]]]
"""Asks the store for the last events of a person, oldest first, and for their attributes."""


class LiveHistories:
    """Histories of the people seen last; others are read from the store, and nothing is lost between the two.

    Events that arrive while a person's history is being read are kept beside it and merged by `seq`.
    """

    def __init__(self, read: Read, *, kinds: Iterable[str], capacity: int, longest: int) -> None:
        """`read` is called in a thread; `longest` is the number of events of a person that are kept."""
        self._read = read
        self._kinds = frozenset(kinds)
        self._capacity = capacity
        self._longest = longest
        self._known: OrderedDict[str, LiveHistory] = OrderedDict()
        self._loading: dict[str, asyncio.Future[LiveHistory]] = {}
        self._meanwhile: dict[str, list[PastEvent]] = {}
        self._version = 0

    def __len__(self) -> int:
        return len(self._known)

    def at_hand(self, user: str) -> LiveHistory | None:
        """The history if it is in memory."""
        found = self._known.get(user)
        if found is not None:
            self._known.move_to_end(user)
        return found

    async def of(self, user: str) -> LiveHistory:
        """The history, read from the store if need be. Raises `StoreUnavailableError`."""
        found = self.at_hand(user)
        if found is not None:
            return found
        if user not in self._loading:
            self._loading[user] = asyncio.ensure_future(self._load(user))
            self._meanwhile[user] = []
        return await asyncio.shield(self._loading[user])

    def apply(self, events: Sequence[NewEvent], seqs: dict[str, int]) -> None:
        """Take in committed events."""
        for event in events:
            if event.kind not in self._kinds:
                continue
            past = PastEvent(seqs[event.event_id], event.item_id, event.time, event.value, event.kind)
            if event.user_id in self._meanwhile:
                self._meanwhile[event.user_id].append(past)
            known = self._known.get(event.user_id)
            if known is not None:
                self._extend(known, [past])

    def forget(self, user: str) -> None:
        """Drop what is in memory about a person."""
        self._known.pop(user, None)

    def clear(self) -> None:
        """Drop everything: it will be read again."""
        self._known.clear()

    async def _load(self, user: str) -> LiveHistory:
        try:
            events, attributes = await asyncio.to_thread(self._read, user)
            history = LiveHistory(self._next_version(), events, attributes)
            self._extend(history, self._meanwhile[user])
        finally:
            del self._loading[user], self._meanwhile[user]
        self._known[user] = history
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)
        return history

    def _extend(self, history: LiveHistory, events: list[PastEvent]) -> None:
        last = history.events[-1].seq if history.events else 0
        new = [event for event in events if event.seq > last]
        if new:
            history.events = [*history.events, *new][-self._longest :]
            history.version = self._next_version()

    def _next_version(self) -> int:
        self._version += 1
        return self._version


class LiveCounts:
    """Events per item since the run was fitted, and the same with time decay."""

    def __init__(self, heat: Heat, counts: Iterable[tuple[str, int, float]]) -> None:
        self._heat = heat
        self.events: dict[str, int] = {}
        self.heat: dict[str, float] = {}
        for item, events, warmth in counts:
            self.events[item] = events
            self.heat[item] = warmth

    def apply(self, events: Sequence[NewEvent]) -> None:
        """Take in committed events."""
        for event in events:
            if event.kind in self._heat.kinds:
                self.events[event.item_id] = self.events.get(event.item_id, 0) + 1
                self.heat[event.item_id] = self.heat.get(event.item_id, 0.0) + self._heat.weight(event.time)
