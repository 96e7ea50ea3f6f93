"""Answers that grow: one JSON document a line (NDJSON), sent as soon as it is there. Who hangs up stops the work behind it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import orjson

LOG = logging.getLogger("recsmith.serving")
NDJSON = "application/x-ndjson"
Message = MutableMapping[str, Any]


class Stream:
    """The content of a reply: lines that come one after the other."""

    def __init__(self, lines: AsyncIterator[Any]) -> None:
        """`lines` are values for JSON; an async generator is closed at the end, or when nobody listens any more."""
        self._lines = lines
        self._first: bytes | None = None

    async def begin(self) -> None:
        """Wait for the first line; what goes wrong until then is refused like any other request."""
        self._first = await self._next()

    async def send(self, send: Callable[[Message], Awaitable[None]], receive: Callable[[], Awaitable[Message]]) -> None:
        """All lines as the body of an answer that has been started. A mistake in the middle becomes the last line."""
        gone = asyncio.create_task(_gone(receive))
        try:
            line = self._first
            while line is not None and not gone.done():
                await send({"type": "http.response.body", "body": line, "more_body": True})
                line = await self._next_unless(gone)
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            await self.close()

    async def close(self) -> None:
        """Stop the work behind the lines."""
        if isinstance(self._lines, AsyncGenerator):
            await self._lines.aclose()

    async def _next_unless(self, gone: asyncio.Task[None]) -> bytes | None:
        """The next line, None behind the last or when nobody listens any more."""
        line = asyncio.create_task(self._next())
        await asyncio.wait({line, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not line.done():
            line.cancel()
            await asyncio.wait({line})
            return None
        try:
            return line.result()
        except Exception as error:
            LOG.exception("a bug in a stream: %s", type(error).__name__)
            return orjson.dumps({"problem": "the server made a mistake, which is in its log; please report it"}) + b"\n"

    async def _next(self) -> bytes | None:
        try:
            return orjson.dumps(await anext(self._lines)) + b"\n"
        except StopAsyncIteration:
            return None


async def _gone(receive: Callable[[], Awaitable[Message]]) -> None:
    """Returns when the other side has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass
