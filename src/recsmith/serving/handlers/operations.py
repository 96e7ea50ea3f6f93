"""Running the server: health, metrics, rules, models, keys, audit."""

from __future__ import annotations

import time
from typing import Any

from recsmith.serving import changes
from recsmith.serving.calls import Call, Reply
from recsmith.serving.keys import new_key
from recsmith.serving.server import Server

DAY = 86_400.0


async def live(server: Server, call: Call) -> dict[str, Any]:
    """The process runs."""
    return {"status": "ok"}


async def ready(server: Server, call: Call) -> dict[str, Any]:
    """A model is in service; degraded while the store is away."""
    available = await server.store_available()
    facts = {
        "status": "ready" if available and server.shares_well else "degraded",
        "model": server.generation.name,
        "store": "available" if available else "unavailable",
    }
    return facts if server.follower is None else {**facts, "sharing": server.sharing.way}


async def openapi(server: Server, call: Call) -> Reply:
    """This interface, as OpenAPI 3.1."""
    from recsmith.serving.openapi import document

    return Reply(document())


async def metrics(server: Server, call: Call) -> Reply:
    """Figures for Prometheus."""
    return Reply(server.metrics.text(server), media_type="text/plain; version=0.0.4; charset=utf-8")


async def get_rules(server: Server, call: Call) -> dict[str, Any]:
    """The business's rules in force."""
    return {"rules": server.rules}


async def put_rules(server: Server, call: Call) -> dict[str, Any]:
    """Put other rules into force, at once and for every list."""
    await server.put_rules(call, call.body.rules)
    return {"rules": server.rules}


async def list_models(server: Server, call: Call) -> dict[str, Any]:
    """The run folders that may be put into service."""
    return {"models": await server.models(), "previous": server.previous_name}


async def activate_model(server: Server, call: Call) -> dict[str, Any]:
    """Put another model into service without a pause; it goes back by itself when it fails."""
    await server.activate(call, call.path["model"])
    return _active(server)


async def rollback_model(server: Server, call: Call) -> dict[str, Any]:
    """Put the model before back into service."""
    await server.roll_back(call)
    return _active(server)


async def list_keys(server: Server, call: Call) -> dict[str, Any]:
    """All API keys, without their secrets."""
    return {"keys": [_without_secret(row) for row in await server.ask(lambda store: store.keys())]}


async def create_key(server: Server, call: Call) -> dict[str, Any]:
    """Make an API key; it is shown this once."""
    now = time.time()
    expires = None if call.body.days is None else now + call.body.days * DAY
    key, row = new_key(call.body.name, call.body.role, expires=expires, now=now)
    await server.change(call, "create key", row["key_id"], lambda connection: changes.add_key(connection, row))
    await server.read_keys()
    return {"key": key, "key_id": row["key_id"]}


async def revoke_key(server: Server, call: Call) -> dict[str, Any]:
    """Revoke an API key for good."""
    key_id = call.path["key_id"]
    found = await server.change(call, "revoke key", key_id, lambda connection: changes.revoke_key(connection, key_id, now=time.time()))
    if not found:
        raise server.not_found("key", key_id, "GET /keys lists them")
    await server.read_keys()
    return await list_keys(server, call)


async def audit(server: Server, call: Call) -> dict[str, Any]:
    """Who changed what, oldest first, page by page."""
    query = call.query
    return {"rows": await server.ask(lambda store: store.audit(after=query.after, limit=query.limit))}


def _active(server: Server) -> dict[str, Any]:
    return {"model": server.generation.name, "items": server.generation.items}


def _without_secret(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "secret_hash"}
