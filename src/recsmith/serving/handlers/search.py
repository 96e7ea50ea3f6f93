"""Search in words."""

from __future__ import annotations

from typing import Any

from recsmith.serving import finding
from recsmith.serving.calls import Call
from recsmith.serving.handlers.lists import places
from recsmith.serving.rule_set import Person
from recsmith.serving.server import Server


async def search(server: Server, call: Call) -> dict[str, Any]:
    """Items by words, in the order of a person's taste where one is named."""
    query = call.query
    wanted = finding.Search(query.q, query.k, query.user_id, query.personal, deadline_ms=query.deadline_ms)
    return _document(await finding.search(server, wanted))


async def search_where(server: Server, call: Call) -> dict[str, Any]:
    """Items by words among those that meet a condition on their attributes."""
    body = call.body
    person = Person(body.region, body.age)
    wanted = finding.Search(body.q, body.k, body.user_id, body.personal, body.where, person, body.deadline_ms)
    return _document(await finding.search(server, wanted))


def _document(found: finding.Findings) -> dict[str, Any]:
    return {
        "model": found.served.model,
        "ways": list(found.ways),
        "personal": found.personal,
        "degraded": list(found.served.degraded),
        "items": places(found.served),
    }
