"""Evidence: what carries an item."""

from __future__ import annotations

from typing import Any

from recsmith.serving.calls import Call
from recsmith.serving.explaining import evidence_for_person, evidence_for_session
from recsmith.serving.server import Server


async def explain(server: Server, call: Call) -> dict[str, Any]:
    """Which events and codes carry an item for a person: each event is left out once, and the model is asked again."""
    return await evidence_for_person(server, call.path["user_id"], call.path["item_id"], call.query.last)


async def explain_session(server: Server, call: Call) -> dict[str, Any]:
    """Which events and codes carry an item for somebody of whom only this history is known."""
    return await evidence_for_session(server, call.body.history, call.body.item_id, call.body.last)
