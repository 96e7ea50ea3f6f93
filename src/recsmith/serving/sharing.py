"""What workers that serve one store must know of each other: that a person, the rules, the items or the model have changed.

The store holds the truth: a revision that every change moves, and the feed. Redis says, in one round trip for all requests of a moment,
whether what a worker has in memory is still true. Without Redis, or while it is away, the store itself is asked for every answer: slower,
and as correct. A worker that alone loses its way to Redis cannot tell the others; they hear of its events from the feed, which every
worker follows, within `FOLLOW_SECONDS`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, Protocol

from recsmith.errors import import_extra
from recsmith.serving.config import ServerConfig
from recsmith.serving.keys import RateLimit, too_fast
from recsmith.serving.store import Store
from recsmith.serving.together import Together

LOG = logging.getLogger("recsmith.serving")

FOLLOW_SECONDS = 1.0
"""Seconds between two looks at the feed."""
_FORGET_SECONDS = 3600
"""Redis keeps the mark of a person's change for so long."""
_RETRY_SECONDS = 1.0
"""After a failure Redis is left alone for so long."""
_TIMEOUT = 0.5

Revision = Callable[[], Awaitable[int]]
"""Asks the store for its revision. Raises `StoreUnavailableError`."""


class Sharing(Protocol):
    """How a worker learns what others did."""

    way: str
    """"alone", "redis" or "store": how it is learned at present."""

    async def revision(self) -> int:
        """Moves with every change of rules, items, models, keys, experiments. Raises `StoreUnavailableError`."""
        ...

    async def mark(self, user: str) -> str | None:
        """Changes whenever something about a person does; None: not known, ask the store for the person."""
        ...

    async def people_changed(self, users: Iterable[str]) -> None:
        """Tell the others, before anybody is acknowledged."""
        ...

    async def state_changed(self, revision: int) -> None:
        """Tell the others of a new revision."""
        ...

    async def take(self, key_id: str) -> None:
        """One request by a key. Raises `Problem` (429) when all workers together had too many."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Alone:
    """One worker, which did everything itself."""

    way = "alone"

    def __init__(self, *, rate: float) -> None:
        self._rate = RateLimit(rate)

    async def revision(self) -> int:
        return 0

    async def mark(self, user: str) -> str | None:
        return ""

    async def people_changed(self, users: Iterable[str]) -> None:
        return

    async def state_changed(self, revision: int) -> None:
        return

    async def take(self, key_id: str) -> None:
        self._rate.check(key_id)

    async def close(self) -> None:
        return


class StoreSharing(Alone):
    """The store is asked each time; the rate of a key is shared out evenly."""

    way = "store"

    def __init__(self, revision: Revision, *, rate: float, workers: int) -> None:
        super().__init__(rate=rate / workers)
        self._revisions = Together[str, int](lambda keys: _for_all(keys, revision))

    async def revision(self) -> int:
        return await self._revisions.of("")

    async def mark(self, user: str) -> str | None:
        return None


_TAKE = """
local now = redis.call('TIME')
local seconds = tonumber(now[1]) + tonumber(now[2]) / 1e6
local rate, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'left', 'then')
local left = tonumber(kept[1]) or 2 * rate
left = math.min(left + math.max(seconds - (tonumber(kept[2]) or seconds), 0) * rate, math.max(2 * rate, 1))
local given = math.min(wanted, math.floor(left))
redis.call('HSET', KEYS[1], 'left', tostring(left - given), 'then', tostring(seconds))
redis.call('EXPIRE', KEYS[1], 3600)
return {given, tostring(left - given)}
"""
"""A token bucket for all workers: they take some tokens at once and use them up by themselves."""


class RedisSharing:
    """Through Redis, by the store while Redis is away. `lost` is called when what is in memory may be older than what Redis says."""

    def __init__(self, url: str, store: StoreSharing, *, identity: str, rate: float, lost: Callable[[], None]) -> None:
        """`identity` names the store: servers of different stores may share a Redis."""
        redis: Any = import_extra("redis.asyncio", extra="redis", purpose="workers that share a Redis")
        retries: Any = import_module("redis.asyncio.retry")
        never = retries.Retry(import_module("redis.backoff").NoBackoff(), 0)
        self._failed: tuple[type[Exception], ...] = (redis.RedisError, OSError, asyncio.TimeoutError)
        self._redis = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=never, decode_responses=True
        )
        self.way = "redis"
        self._store = store
        self._prefix = f"recsmith:{identity}:"
        self._rate = rate
        self._lost = lost
        self._epoch: str | None = None
        self._away_until = 0.0
        self._worker = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._looks = Together[str, str | None](self._look)
        self._marks = Together[frozenset[str], None](self._mark_all)
        self._take_script = self._redis.register_script(_TAKE)
        self._leases: dict[str, tuple[float, float]] = {}
        self._leasing: dict[str, asyncio.Lock] = {}

    async def revision(self) -> int:
        """The revision, as Redis says it or, when Redis does not know, the store."""
        found = await self._ask(lambda: self._looks.of("revision"))
        if found is not None and found.isdecimal():
            return int(found)
        revision = await self._store.revision()
        await self._ask(lambda: self._redis.set(self._prefix + "revision", revision, nx=found is None))
        return revision

    async def mark(self, user: str) -> str | None:
        """Changes with the person; None while Redis is away."""
        found = await self._ask(lambda: self._looks.of("person " + user))
        return None if self.way == "store" else f"{self._epoch} {found}"

    async def people_changed(self, users: Iterable[str]) -> None:
        """Mark people as changed."""
        changed = frozenset(users)
        await self._ask(lambda: self._marks.of(changed))

    async def state_changed(self, revision: int) -> None:
        """Publish a revision."""
        await self._ask(lambda: self._redis.set(self._prefix + "revision", revision))

    async def take(self, key_id: str) -> None:
        """A request by a key; tokens are taken from Redis a twentieth of a second's worth at a time."""
        left, until = self._leases.get(key_id, (0.0, 0.0))
        if left < 1 or time.monotonic() > until:
            async with self._leasing.setdefault(key_id, asyncio.Lock()):
                left, until = self._leases.get(key_id, (0.0, 0.0))
                if left < 1 or time.monotonic() > until:
                    await self._lease(key_id)
            if self.way == "store":
                await self._store.take(key_id)
                return
            left, until = self._leases[key_id]
        if left < 1:
            raise too_fast(self._rate, (1 - left) / self._rate)
        self._leases[key_id] = (left - 1, until)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _lease(self, key_id: str) -> None:
        wanted = max(1, math.ceil(self._rate / 20))
        key = [self._prefix + "rate " + key_id]
        found = await self._ask(lambda: self._take_script(keys=key, args=[self._rate, wanted]))
        if found is not None:
            given, rest = int(found[0]), float(found[1])
            self._leases[key_id] = (float(given) if given else min(rest, 0.99), time.monotonic() + 1.0)

    async def _look(self, keys: list[str]) -> Mapping[str, str | None]:
        """One round trip for all. A Redis that was emptied in the meantime has another epoch, and what is in memory is dropped."""
        epoch, *found = await self._redis.mget([self._prefix + "epoch", *(self._prefix + key for key in keys)])
        if epoch is None:
            await self._redis.set(self._prefix + "epoch", uuid.uuid4().hex, nx=True)
            epoch = await self._redis.get(self._prefix + "epoch")
        if epoch != self._epoch:
            self._epoch = epoch
            self._lost()
        return dict(zip(keys, found, strict=True))

    async def _mark_all(self, groups: list[frozenset[str]]) -> Mapping[frozenset[str], None]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for user in frozenset().union(*groups):
                pipeline.set(f"{self._prefix}person {user}", f"{self._worker} {next(self._numbers)}", ex=_FORGET_SECONDS)
            await pipeline.execute()
        return dict.fromkeys(groups)

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """What Redis says, or None while it is away; `way` then says so."""
        if self.way == "store" and time.monotonic() < self._away_until:
            return None
        try:
            found = await question()
        except self._failed as error:
            if self.way == "redis":
                LOG.error("redis is away (%s); the store is asked for every answer until it is back", error)
            self.way = "store"
            self._away_until = time.monotonic() + _RETRY_SECONDS
            return None
        if self.way == "store":
            await self._come_back()
        return found

    async def _come_back(self) -> None:
        """Redis answers again: a new epoch tells everybody that changes may have been missed."""
        try:
            await self._redis.set(self._prefix + "epoch", uuid.uuid4().hex)
            await self._redis.delete(self._prefix + "revision")
        except self._failed:
            return
        LOG.warning("redis is back")
        self.way = "redis"
        self._lost()


async def _for_all(keys: list[str], ask: Callable[[], Awaitable[int]]) -> dict[str, int]:
    found = await ask()
    return dict.fromkeys(keys, found)


def share(config: ServerConfig, store: Store, *, lost: Callable[[], None]) -> Sharing:
    """As the settings say: alone, by Redis, or by the store."""
    rate = config.rate_per_second
    if not config.shared:
        return Alone(rate=rate)
    by_store = StoreSharing(lambda: asyncio.to_thread(store.revision), rate=rate, workers=config.workers)
    if config.redis is None:
        return by_store
    return RedisSharing(config.redis, by_store, identity=store.identity, rate=rate, lost=lost)
