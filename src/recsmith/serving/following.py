"""`Follower`: keeps one worker of several up to date with what the others did to the store that they share."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from recsmith.errors import RecsmithError
from recsmith.recommender import load
from recsmith.serving.changes import NewEvent
from recsmith.serving.growth import Growth
from recsmith.serving.live import SharedHistories
from recsmith.serving.problems import Problem
from recsmith.serving.sharing import FOLLOW_SECONDS
from recsmith.serving.store import Store, StoreUnavailableError

if TYPE_CHECKING:
    from recsmith.serving.server import Server

LOG = logging.getLogger("recsmith.serving")
_PAGE = 5000


class Follower:
    """Belongs to a server in an event loop."""

    def __init__(self, server: Server, last_event: int) -> None:
        """`last_event`: the last event that the server's counts already have."""
        self._server = server
        self._last_event = last_event
        self._revision = -1
        self._turn = asyncio.Lock()
        self._adopting: asyncio.Task[None] | None = None
        self._loop = asyncio.create_task(self._follow())
        self._loop.add_done_callback(_end_blind)

    async def close(self) -> None:
        """Stop following."""
        for task in (self._loop, self._adopting):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    async def catch_up(self) -> None:
        """Know what the others have changed before this was called; while that cannot be asked, what is known stays."""
        try:
            await self._reach(await self._server.sharing.revision())
        except (StoreUnavailableError, Problem) as error:
            LOG.error("what other workers changed could not be read: %s", error)

    async def moved(self, revision: int) -> None:
        """This worker has made a change: tell the others."""
        if revision == self._revision + 1:
            self._revision = revision
        await self._server.sharing.state_changed(revision)

    async def _reach(self, revision: int) -> None:
        if revision <= self._revision:
            return
        async with self._turn:
            if revision <= self._revision:
                return
            try:
                await self._take_over()
            except Problem as problem:
                if problem.kind != "conflict":
                    raise
                LOG.error("what another worker changed is not possible here: %s", problem.detail)
                self._revision = revision  # trying it again for every request would change nothing

    async def _take_over(self) -> None:
        """Read everything that may have changed. A deleted item is gone from the next answer on; a model is loaded meanwhile."""
        server, generation = self._server, self._server.generation
        found = await asyncio.to_thread(_read, server.store, generation.last_item)
        server.keys.replace(found["keys"])
        server.take_people(found["forgotten"])
        deleted = [row["item_id"] for row in found["items"] if row["deleted"]]
        if deleted:
            for answering in server.generations:
                answering.hide(deleted)
        other_rules = server.take_rules(found["rules"])
        active = (found["active"] or {}).get("name", generation.name)
        if active != generation.name:
            self._adopt(active)
        elif other_rules or len(deleted) < len(found["items"]):
            await server.remake(generation.name, generation.growth)
        elif found["items"]:
            generation.last_item = found["items"][-1]["number"]
        await server.read_experiments()
        self._revision = max(self._revision, found["revision"])

    def _adopt(self, name: str) -> None:
        if self._adopting is not None and not self._adopting.done():
            return
        self._adopting = asyncio.create_task(self._put_into_service(name))
        self._adopting.add_done_callback(_say_failure)

    async def _put_into_service(self, name: str) -> None:
        """The model that another worker has activated."""
        server = self._server
        before = (server.generation.name, server.generation.growth)
        if server.before is not None and server.before[0] == name:
            growth = server.before[1]
        else:
            growth = Growth(await asyncio.to_thread(load, server.models_folder / name))
        await server.remake(name, growth)
        server.before = before
        server.guard.begin(name, before=before[0], now=time.time(), watch=False)  # whoever activated it watches it
        LOG.warning("model %s is in service, as another worker has it; before it was %s", name, before[0])

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                await self._reach(await asyncio.to_thread(self._server.store.revision))
                await self._count()
            except (StoreUnavailableError, RecsmithError, Problem) as error:
                LOG.error("the feed could not be followed: %s", error)

    async def _count(self) -> None:
        """Take the feed's new events into what is popular and trending, and out of what is remembered of their people."""
        server = self._server
        histories = server.histories
        while True:
            rows = await asyncio.to_thread(server.store.feed, after=self._last_event, limit=_PAGE)
            server.count([NewEvent(*(row[name] for name in NewEvent._fields)) for row in rows])
            for row in rows:
                if isinstance(histories, SharedHistories) and row["kind"] in server.heat.kinds:
                    histories.seen(row["user_id"], row["seq"])
            if rows:
                self._last_event = rows[-1]["seq"]
            if len(rows) < _PAGE:
                return


def _read(store: Store, last_item: int) -> dict[str, Any]:
    """The revision first, so that what is read is at least as new."""
    return {
        "revision": store.revision(),
        "keys": store.keys(),
        "forgotten": store.forgotten(),
        "rules": store.setting("rules"),
        "active": store.setting("active"),
        "items": store.items(after=last_item),
    }


def _say_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        LOG.error("another worker's model could not be taken over: %s", task.exception())


def _end_blind(task: asyncio.Task[None]) -> None:
    """A worker that no longer follows would answer wrongly for good: it ends, and another one is started in its place."""
    if not task.cancelled() and task.exception() is not None:
        LOG.critical("following the feed broke, this worker ends", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)
