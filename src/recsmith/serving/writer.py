"""`GroupWriter`: all changes of the store go through one thread, which commits what waits as one transaction.

A disk syncs some hundred times a second, whatever the size of the write. Writes that arrive while a sync is running therefore share the
next one. A caller gets its result only after the commit has returned, so that what was acknowledged survives the process and the power.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from recsmith.serving.changes import Heat, NewEvent, add_events, add_lists
from recsmith.serving.problems import Problem
from recsmith.serving.store import Store, StoreUnavailableError

LOG = logging.getLogger("recsmith.serving")

Change = Callable[[Connection], Any]
AppliedEvents = Callable[[list[NewEvent], dict[str, int]], None]
"""Told of committed events, before anybody is acknowledged: the new ones in their order, and their `event_id` → `seq`."""


@dataclass
class _Work:
    future: asyncio.Future[Any]
    events: Sequence[NewEvent] = ()
    change: Change | None = None
    result: Any = None
    error: Exception | None = None


class GroupWriter:
    """Owns the writing side of the store. All public methods belong to the event loop."""

    def __init__(
        self,
        store: Store,
        heat: Heat,
        *,
        applied: AppliedEvents,
        retry_after: int = 2,
        most_events: int = 4000,
        most_waiting: int = 20_000,
        list_delay: float = 0.1,
    ) -> None:
        """`list_delay`: seconds for which served lists are gathered before they are written down together."""
        self._store = store
        self._heat = heat
        self._applied = applied
        self._retry_after = retry_after
        self._most_events = most_events
        self._most_waiting = most_waiting
        self._list_delay = list_delay
        self._queue: queue.SimpleQueue[_Work | list[Mapping[str, Any]] | None] = queue.SimpleQueue()
        self._gathered: list[Mapping[str, Any]] = []
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="recsmith-writer", daemon=True)
        self.available = True
        """Whether the last commit succeeded."""
        self.lost_lists = 0
        """Served lists that could not be written down."""
        self.commits = 0
        self._thread.start()

    async def add_events(self, events: Sequence[NewEvent]) -> dict[str, int]:
        """Durable when this returns: `event_id` → `seq` of those that were new. Raises `Problem` (503) while the store is away."""
        result: dict[str, int] = await self._submit(_Work(self._loop.create_future(), events=events))
        return result

    async def change(self, change: Change) -> Any:
        """Run `change` in a transaction, alone or among others; durable when this returns its result."""
        return await self._submit(_Work(self._loop.create_future(), change=change))

    def add_list(self, row: Mapping[str, Any]) -> None:
        """Write down a served list soon; nobody waits for it."""
        if self._queue.qsize() > self._most_waiting or len(self._gathered) >= self._most_waiting:
            self.lost_lists += 1
            return
        if not self._gathered:
            self._loop.call_later(self._list_delay, self._hand_over_lists)
        self._gathered.append(row)

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return self._queue.qsize()

    async def close(self) -> None:
        """Write what waits, then stop."""
        self._hand_over_lists()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _hand_over_lists(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    def _submit(self, work: _Work) -> asyncio.Future[Any]:
        if self._queue.qsize() > self._most_waiting:
            raise self._away("too many writes are waiting")
        self._hand_over_lists()  # what was shown before a change is written before it: who is forgotten then leaves nothing behind
        self._queue.put(work)
        return work.future

    def _away(self, reason: str) -> Problem:
        detail = f"the store is not available ({reason}); nothing was written: send it again after {self._retry_after} s"
        return Problem("store-unavailable", detail, headers={"retry-after": str(self._retry_after)})

    # ---- in the thread ----

    def _run(self) -> None:
        going = True
        while going:
            group, lists, going = self._next_group()
            if group or lists:
                self._commit(group, lists)

    def _next_group(self) -> tuple[list[_Work], list[Mapping[str, Any]], bool]:
        """What is committed together: waits for the first, takes what is there. False at the end."""
        group: list[_Work] = []
        lists: list[Mapping[str, Any]] = []
        events = 0
        while events < self._most_events and len(group) + len(lists) < self._most_events:
            try:
                entry = self._queue.get(block=not group and not lists)
            except queue.Empty:
                break
            if entry is None:
                return group, lists, False
            if isinstance(entry, list):
                lists += entry
                continue
            group.append(entry)
            events += len(entry.events)
        return group, lists, True

    def _commit(self, group: list[_Work], lists: list[Mapping[str, Any]]) -> None:
        events = [event for work in group for event in work.events]
        new: dict[str, int] = {}
        try:
            with self._store.transaction() as connection:
                if events:
                    new = add_events(connection, events, self._heat)
                add_lists(connection, lists)  # before the changes: who is forgotten leaves nothing behind
                for work in group:
                    if work.change is not None:
                        self._change(connection, work)
        except StoreUnavailableError as error:
            self.available = False
            self.lost_lists += len(lists)
            LOG.error("the store did not commit: %s", error)
            self._tell(self._refuse, group, self._away(str(error)))
            return
        except Exception as error:
            # whatever it was, the callers must hear of it and this thread must live on
            LOG.exception("a write failed")
            self.lost_lists += len(lists)
            self._tell(self._refuse, group, error)
            return
        self.available = True
        self.commits += 1
        self._tell(self._acknowledge, group, events, new)

    def _change(self, connection: Connection, work: _Work) -> None:
        """One change in a savepoint of its own: when it refuses, the others of the group stand."""
        assert work.change is not None
        try:
            with connection.begin_nested():
                work.result = work.change(connection)
        except Problem as problem:
            work.error = problem

    def _tell(self, what: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what, *arguments)

    # ---- back in the loop ----

    def _refuse(self, group: list[_Work], error: Exception) -> None:
        for work in group:
            if not work.future.done():
                work.future.set_exception(error)

    def _acknowledge(self, group: list[_Work], events: list[NewEvent], new: dict[str, int]) -> None:
        first: dict[str, NewEvent] = {}
        for event in events:
            if event.event_id in new:
                first.setdefault(event.event_id, event)
        self._applied(sorted(first.values(), key=lambda event: new[event.event_id]), new)
        given: set[str] = set()
        for work in group:
            mine = {event.event_id: new[event.event_id] for event in work.events if event.event_id in new and event.event_id not in given}
            given.update(mine)
            if work.future.done():
                continue
            if work.error is not None:
                work.future.set_exception(work.error)
            else:
                work.future.set_result(work.result if work.change is not None else mine)
