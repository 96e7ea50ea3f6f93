"""Fitting the model again."""

from __future__ import annotations

from typing import Any

from recsmith.serving.calls import Call
from recsmith.serving.server import Server


async def refit_status(server: Server, call: Call) -> dict[str, Any]:
    """Whether a model is being fitted again, or how that ended."""
    return await server.refits.status()


async def start_refit(server: Server, call: Call) -> dict[str, Any]:
    """Fit the model again on what the store has gathered, in a process of its own; the present one answers meanwhile."""
    return await server.refits.start(call, call.body.how, activate=call.body.activate)
