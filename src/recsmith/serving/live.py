"""What happened since the run was fitted, in memory: the live histories of recent visitors, and what is popular and trending."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsmith.serving.changes import Heat, NewEvent
from recsmith.serving.store import PastEvent
from recsmith.serving.together import Together


@dataclass
class LiveHistory:
    """The live events of one person. `version` changes whenever they do."""

    version: int
    events: list[PastEvent] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    """What was written about the person."""


NOTHING = LiveHistory(0)
"""What is known of somebody while the store cannot be asked."""

Read = Callable[[Sequence[str]], Mapping[str, tuple[list[PastEvent], dict[str, Any]]]]
"""Asks the store for the last events of people, oldest first, and for their attributes; every one of them is in the result."""


Mark = Callable[[str], Awaitable[str | None]]
"""Something that changes whenever another worker learns something about a person; None where that cannot be known."""


EVENTS_EACH = 20
"""Events in memory per person that may be in memory: a few with long histories leave room for fewer others."""


class LiveHistories:
    """Histories of the people seen last; others are read from the store, and nothing is lost between the two.

    Those who are asked for while the store is being read form the next question to it. Events that arrive while a person's history is
    being read are kept beside it and merged by `seq`.
    """

    def __init__(self, read: Read, *, kinds: Iterable[str], capacity: int, longest: int) -> None:
        """`read` is called in a thread; `longest` is the number of events of a person that are kept, `capacity` that of people, who may
        together have `EVENTS_EACH` times as many events."""
        self._read = read
        self._kinds = frozenset(kinds)
        self._capacity = capacity
        self._longest = longest
        self._known: OrderedDict[str, LiveHistory] = OrderedDict()
        self._events = 0
        self._meanwhile: dict[str, list[PastEvent]] = {}
        self._outdated: set[str] = set()
        self._loads = Together[str, LiveHistory](self._load)
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
        return await self._loads.of(user)

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
                before = len(known.events)
                self._extend(known, [past])
                self._events += len(known.events) - before
        self._shrink()

    def forget(self, user: str) -> None:
        """Drop what is in memory about a person."""
        self._drop(user)
        self._outdated.update(self._meanwhile.keys() & {user})

    def clear(self) -> None:
        """Drop everything: it will be read again."""
        self._known.clear()
        self._events = 0
        self._outdated.update(self._meanwhile)

    async def _load(self, users: list[str]) -> dict[str, LiveHistory]:
        self._meanwhile = {user: [] for user in users}
        try:
            found = await asyncio.to_thread(self._read, users)
            return {user: self._keep(user, *found[user]) for user in users}
        finally:
            self._meanwhile, self._outdated = {}, set()

    def _keep(self, user: str, events: list[PastEvent], attributes: dict[str, Any]) -> LiveHistory:
        history = LiveHistory(self._next_version(), events, attributes)
        self._extend(history, self._meanwhile[user])
        if user in self._outdated:
            return history
        self._drop(user)
        self._known[user] = history
        self._events += len(history.events)
        self._shrink()
        return history

    def _drop(self, user: str) -> None:
        dropped = self._known.pop(user, None)
        self._events -= 0 if dropped is None else len(dropped.events)

    def _shrink(self) -> None:
        while len(self._known) > self._capacity or (self._events > EVENTS_EACH * self._capacity and len(self._known) > 1):
            self._events -= len(self._known.popitem(last=False)[1].events)

    def _extend(self, history: LiveHistory, events: list[PastEvent]) -> None:
        last = history.events[-1].seq if history.events else 0
        new = [event for event in events if event.seq > last]
        if new:
            history.events = [*history.events, *new][-self._longest :]
            history.version = self._next_version()

    def _next_version(self) -> int:
        self._version += 1
        return self._version


class SharedHistories(LiveHistories):
    """The same where other workers take in events too: what is in memory counts while a person's mark is what it was when it was read."""

    def __init__(self, read: Read, *, mark: Mark, **limits: Any) -> None:
        super().__init__(read, **limits)
        self._mark = mark
        self._marks: dict[str, str] = {}

    def at_hand(self, user: str) -> LiveHistory | None:
        """Never: whether a history is still true has to be asked for."""
        return None

    async def of(self, user: str) -> LiveHistory:
        """The history as it is now. Raises `StoreUnavailableError`."""
        mark = await self._mark(user)
        known = super().at_hand(user)
        if known is not None and mark is not None and self._marks.get(user) == mark:
            return known
        self._marks.pop(user, None)
        history = await self._loads.of(user)
        if mark is not None and user in self._known:
            self._marks[user] = mark
        if len(self._marks) > 2 * self._capacity:
            self._marks = {user: mark for user, mark in self._marks.items() if user in self._known}
        return history

    def seen(self, user: str, seq: int) -> None:
        """The feed has an event of a person: what is in memory without it is dropped."""
        known = self._known.get(user)
        if known is not None and (not known.events or known.events[-1].seq < seq):
            self.forget(user)


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
