"""People in and out: what is known about them, all of it on demand, and nothing of it any more."""

from __future__ import annotations

import json
import time
from typing import Any

from sqlalchemy import select

from recsmith.serving import changes
from recsmith.serving.calls import Call
from recsmith.serving.server import Server
from recsmith.serving.store import hash_of_user
from recsmith.serving.tables import USERS

NOTE = "The model's weights were trained on the events of `run_history`; a new fit without them, or unlearning, takes them out."


async def list_users(server: Server, call: Call) -> dict[str, Any]:
    """People that were written through the API, page by page."""
    question = select(USERS).where(USERS.c.user_id > call.query.after).order_by(USERS.c.user_id).limit(call.query.limit)
    rows = await server.ask(lambda store: store.rows(question))
    return {"users": [_document(server, row["user_id"], row) for row in rows]}


async def get_user(server: Server, call: Call) -> dict[str, Any]:
    """What is known about a person."""
    user = call.path["user_id"]
    row = await server.ask(lambda store: store.row(select(USERS).where(USERS.c.user_id == user)))
    if row is None and server.known_user(user) < 0:
        raise server.not_found("user", user, "write it with PUT, or ask for recommendations: strangers get them too")
    return _document(server, user, row)


async def put_user(server: Server, call: Call) -> dict[str, Any]:
    """Create or replace a person."""
    user = {"user_id": call.path["user_id"], **call.body.model_dump()}
    await _write(server, call, [user], target=_name(user["user_id"]))
    return _document(server, user["user_id"], {"attributes": json.dumps(user["attributes"])})


async def put_users(server: Server, call: Call) -> dict[str, Any]:
    """Create or replace several people, all or none."""
    users = [user.model_dump() for user in call.body.users]
    await _write(server, call, users, target=None)
    return {"written": len({user["user_id"] for user in users})}


async def user_history(server: Server, call: Call) -> dict[str, Any]:
    """What answers to a person are made from: events of the run and those since, oldest first."""
    user = call.path["user_id"]
    items = await server.history(user)
    generation = server.generation
    titles = [None if (index := generation.index(item)) < 0 else generation.titles[index] for item in items]
    return {"user_id": user, "items": [{"item_id": item, "title": title} for item, title in zip(items, titles, strict=True)]}


async def export_user(server: Server, call: Call) -> dict[str, Any]:
    """Everything that is held about a person."""
    user = call.path["user_id"]
    held = await server.ask(lambda store: store.about(user))
    await server.change(call, "export user", _name(user), lambda connection: None, shared=False)
    return {"user_id": user, **held, "run_history": server.run_history(user), "note": NOTE}


async def forget_user(server: Server, call: Call) -> dict[str, Any]:
    """Delete everything about a person: events, lists, attributes, what is kept in memory."""
    user = call.path["user_id"]
    now = time.time()
    in_model = server.known_user(user) >= 0
    gone = await server.change(
        call, "forget user", _name(user), lambda connection: changes.forget_user(connection, user, now=now, heat=server.heat)
    )
    await server.forget(user)
    return {**gone, "in_model": in_model}


async def _write(server: Server, call: Call, users: list[dict[str, Any]], *, target: str | None) -> None:
    now = time.time()
    await server.change(call, "write users", target, lambda connection: changes.put_users(connection, users, now=now), shared=False)
    await server.people_changed([user["user_id"] for user in users])


def _name(user: str) -> str:
    """How the audit names a person: it must not keep the id of somebody who asks to be forgotten."""
    return f"sha256:{hash_of_user(user)}"


def _document(server: Server, user: str, row: dict[str, Any] | None) -> dict[str, Any]:
    attributes = {} if row is None else json.loads(row["attributes"])
    return {"user_id": user, "attributes": attributes, "trained": server.known_user(user) >= 0}
