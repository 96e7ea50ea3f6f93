"""Events in, and the feed of them out."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from recsmith.serving.bodies import EventBody
from recsmith.serving.calls import Call
from recsmith.serving.changes import NewEvent
from recsmith.serving.server import Server


async def add_event(server: Server, call: Call) -> dict[str, Any]:
    """Take in one event; it is durable, and counts in the person's next list, when the answer comes."""
    return await _add(server, [call.body])


async def add_events(server: Server, call: Call) -> dict[str, Any]:
    """Take in several events, all or none."""
    return await _add(server, call.body.events)


async def feed(server: Server, call: Call) -> dict[str, Any]:
    """Events in the order in which they were acknowledged, page by page."""
    query = call.query
    return {"events": await server.ask(lambda store: store.feed(after=query.after, limit=query.limit))}


async def _add(server: Server, bodies: Sequence[EventBody]) -> dict[str, Any]:
    now = time.time()
    events = [
        NewEvent(
            event_id=body.event_id or f"server-{uuid.uuid4().hex}",
            user_id=body.user_id,
            item_id=body.item_id,
            kind=body.kind,
            time=now if body.time is None else body.time,
            value=body.value,
            list_id=body.list_id,
            received=now,
        )
        for body in bodies
    ]
    new = await server.add_events(events)
    server.metrics.events.inc(len(new))
    return {"accepted": len(new), "duplicates": len(events) - len(new)}
