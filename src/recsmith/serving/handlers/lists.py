"""Lists: for people, for sessions, for items, and what is popular."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np

from recsmith.serving.answers import Served
from recsmith.serving.calls import Call
from recsmith.serving.rule_set import Person
from recsmith.serving.server import Server
from recsmith.serving.store import read_list
from recsmith.serving.tables import LISTS


async def recommend(server: Server, call: Call) -> dict[str, Any]:
    """Items for a person, from everything known about them up to this moment."""
    query, user = call.query, call.path["user_id"]
    served = await server.recommend(user, query.k, include_seen=query.include_seen, deadline_ms=query.deadline_ms)
    return list_document(server, served, user)


async def recommend_session(server: Server, call: Call) -> dict[str, Any]:
    """Items for somebody of whom only this history is known."""
    body = call.body
    served = await server.recommend_session(
        body.history,
        body.k,
        include_seen=body.include_seen,
        allow=body.allow,
        deny=body.deny,
        person=Person(body.region, body.age),
        deadline_ms=body.deadline_ms,
        session_id=body.session_id,
    )
    return list_document(server, served, body.session_id)


async def similar(server: Server, call: Call) -> dict[str, Any]:
    """What goes with an item: the model's continuation of a history of just this item."""
    item = call.path["item_id"]
    server.require_item(item)
    served = await server.recommend_session([item], call.query.k, include_seen=False, deadline_ms=call.query.deadline_ms)
    return list_document(server, served, None)


async def why(server: Server, call: Call) -> dict[str, Any]:
    """Why an item is, or is not, among a person's recommendations."""
    server.require_item(call.path["item_id"])
    explanation = await server.why(call.path["user_id"], call.path["item_id"], call.query.k)
    return {**call.path, "position": explanation.position, "reasons": [asdict(reason) for reason in explanation.reasons]}


async def popular(server: Server, call: Call) -> dict[str, Any]:
    """The items with the most events, in training and since."""
    generation = server.generation
    return {"items": places(server.ranked(generation.popularity, call.query.k))}


async def trending(server: Server, call: Call) -> dict[str, Any]:
    """The items with the most events lately; an event counts half after the half life."""
    generation = server.generation
    heat = np.full(generation.items, -np.inf, dtype=np.float64)
    for item, warmth in server.counts.heat.items():
        index = generation.index(item)
        if index >= 0 and warmth > 0:
            heat[index] = warmth
    now = server.heat.weight(time.time())
    return {"items": places(server.ranked((heat / now).astype(np.float32), call.query.k))}


async def shown_list(server: Server, call: Call) -> dict[str, Any]:
    """A list that was served: what, by which model, with which probability."""
    row = await server.find(LISTS, "list_id", call.path["list_id"], what="list", hint="lists are written a moment after they are served")
    return read_list(row)


def list_document(server: Server, served: Served, user: str | None) -> dict[str, Any]:
    """A list as it goes out, written down as served."""
    return {
        "list_id": server.record(served, user),
        "model": served.model,
        "source": served.source,
        "degraded": list(served.degraded),
        "experiments": {} if served.shown is None else served.shown.arms,
        "items": places(served),
    }


def places(served: Served) -> list[dict[str, Any]]:
    """The places of a list."""
    rows = zip(served.items, served.scores, served.titles, strict=True)
    return [{"item_id": item, "rank": rank, "score": score, "title": title} for rank, (item, score, title) in enumerate(rows, start=1)]
