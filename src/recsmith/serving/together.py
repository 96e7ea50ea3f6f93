"""`Together`: questions that arrive while one is being asked form the next one, so that a hundred callers cost one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Together(Generic[Key, Value]):
    """Belongs to one event loop. `ask` is given distinct keys and answers every one of them; it is never called twice at a time."""

    def __init__(self, ask: Callable[[list[Key]], Awaitable[Mapping[Key, Value]]], *, most: int = 256) -> None:
        self._ask = ask
        self._most = most
        self._next: dict[Key, asyncio.Future[Value]] = {}
        self._runner: asyncio.Task[None] | None = None

    async def of(self, key: Key) -> Value:
        """The answer, by a question that begins after this call. Raises what `ask` raises."""
        future = self._next.get(key)
        if future is None:
            future = self._next[key] = asyncio.get_running_loop().create_future()
            if self._runner is None or self._runner.done():
                self._runner = asyncio.create_task(self._run())
        return await asyncio.shield(future)

    async def _run(self) -> None:
        while self._next:
            keys = list(self._next)[: self._most]
            asked = {key: self._next.pop(key) for key in keys}
            try:
                found = await self._ask(keys)
            except Exception as error:  # noqa: BLE001 - whatever it was, those who wait must hear of it
                for future in asked.values():
                    future.set_exception(error)
                    future.exception()  # whether or not anybody still waits
            else:
                for key, future in asked.items():
                    future.set_result(found[key])
