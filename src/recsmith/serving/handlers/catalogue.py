"""Items in and out."""

from __future__ import annotations

import json
import time
from typing import Any

from sqlalchemy import select

from recsmith.serving import changes
from recsmith.serving.calls import Call
from recsmith.serving.server import Server
from recsmith.serving.tables import ITEMS


async def list_items(server: Server, call: Call) -> dict[str, Any]:
    """Items that were written through the API, page by page."""
    question = select(ITEMS).where(ITEMS.c.item_id > call.query.after).order_by(ITEMS.c.item_id).limit(call.query.limit)
    rows = await server.ask(lambda store: store.rows(question))
    return {"items": [_document(server, row["item_id"], row) for row in rows]}


async def get_item(server: Server, call: Call) -> dict[str, Any]:
    """What is known about an item."""
    item = call.path["item_id"]
    row = await server.ask(lambda store: store.row(select(ITEMS).where(ITEMS.c.item_id == item)))
    if row is None:
        server.require_item(item)
    return _document(server, item, row)


async def put_item(server: Server, call: Call) -> dict[str, Any]:
    """Create or replace an item; a new one can be recommended from now on."""
    item = {"item_id": call.path["item_id"], **call.body.model_dump()}
    await _write(server, call, [item], target=item["item_id"])
    return _document(server, item["item_id"], {"title": item["title"], "attributes": json.dumps(item["attributes"]), "deleted": 0})


async def put_items(server: Server, call: Call) -> dict[str, Any]:
    """Create or replace several items, all or none."""
    items = [item.model_dump() for item in call.body.items]
    await _write(server, call, items, target=None)
    return {"written": len({item["item_id"] for item in items})}


async def delete_item(server: Server, call: Call) -> dict[str, Any]:
    """Take an item out of every list, for good; writing it again brings it back."""
    item = call.path["item_id"]
    row = await server.ask(lambda store: store.row(select(ITEMS).where(ITEMS.c.item_id == item)))
    if row is None:
        server.require_item(item)
    await server.change(call, "delete item", item, lambda connection: changes.delete_item(connection, item, now=time.time()))
    await server.items_changed(deleted=[item])
    kept = row or {"title": None, "attributes": "{}"}
    return _document(server, item, {**kept, "deleted": 1})


async def _write(server: Server, call: Call, items: list[dict[str, Any]], *, target: str | None) -> None:
    await server.change(call, "write items", target, lambda connection: changes.put_items(connection, items, now=time.time()))
    await server.items_changed(written=[item["item_id"] for item in items])


def _document(server: Server, item: str, row: dict[str, Any] | None) -> dict[str, Any]:
    generation = server.generation
    index = generation.index(item)
    title = None if row is None else row["title"]
    if title is None and index >= 0:
        title = generation.titles[index]
    return {
        "item_id": item,
        "title": title,
        "attributes": {} if row is None else json.loads(row["attributes"]),
        "deleted": bool(row and row["deleted"]),
        "answered_by": generation.answered_by(index),
    }
