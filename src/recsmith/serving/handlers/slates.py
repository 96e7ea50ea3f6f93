"""Slates: pages, baskets and bundles, whole or slot by slot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from recsmith.serving import slates
from recsmith.serving.calls import Call, Reply
from recsmith.serving.generation import Slate
from recsmith.serving.handlers.lists import list_document, places
from recsmith.serving.rule_set import Person
from recsmith.serving.server import Server
from recsmith.serving.streaming import NDJSON, Stream


async def slate(server: Server, call: Call) -> dict[str, Any]:
    """A slate (page, basket, bundle) for a person: items that know of each other where the model fills slates."""
    query, user = call.query, call.path["user_id"]
    asked = Slate(query.wanted, query.seed)
    filled = await slates.slate_for_person(server, user, query.size, asked, include_seen=query.include_seen, deadline_ms=query.deadline_ms)
    return _document(server, filled, user)


async def slate_session(server: Server, call: Call) -> dict[str, Any]:
    """A slate for somebody of whom only this history is known."""
    body = call.body
    filled = await slates.slate_for_session(
        server,
        body.history,
        body.size,
        Slate(body.wanted, body.seed),
        include_seen=body.include_seen,
        allow=body.allow,
        deny=body.deny,
        person=Person(body.region, body.age),
        deadline_ms=body.deadline_ms,
    )
    return _document(server, filled, None)


async def stream_slate(server: Server, call: Call) -> Reply:
    """A slate slot by slot, a JSON line for each as soon as it is filled, and a last line about the whole."""
    return Reply(Stream(_lines(server, call)), media_type=NDJSON)


async def _lines(server: Server, call: Call) -> AsyncIterator[dict[str, Any]]:
    query, user = call.query, call.path["user_id"]
    asked = Slate(query.wanted, query.seed)
    growing = slates.growing_slate(server, user, query.size, asked, include_seen=query.include_seen, deadline_ms=query.deadline_ms)
    told = 0
    filled: slates.Filled | None = None
    async with aclosing(growing):
        async for filled in growing:
            for place in places(filled[0])[told:]:
                yield place
                told += 1
    if filled is not None:
        whole = _document(server, filled, user)
        yield {"done": True, **{name: value for name, value in whole.items() if name != "items"}}


def _document(server: Server, filled: slates.Filled, user: str | None) -> dict[str, Any]:
    return {**list_document(server, filled[0], user), **slates.described(*filled)}
