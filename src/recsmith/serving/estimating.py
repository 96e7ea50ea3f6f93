"""Off-policy estimates over the server's own models: finds or loads the one in question and asks it beside the answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from recsmith.errors import RecsmithError
from recsmith.serving.changes import HOUR
from recsmith.serving.problems import Problem
from recsmith.serving.server import Server
from recsmith.serving.store import StoreUnavailableError

if TYPE_CHECKING:
    from recsmith.serving.experiment_bodies import EstimateBody


async def estimate_policy(server: Server, body: EstimateBody, *, now: float) -> dict[str, Any]:
    """Estimates for a model (None: the one in service) that explores as `body` says. Raises `Problem` (409, 503)."""
    try:
        return await asyncio.get_running_loop().run_in_executor(server.beside, _estimate, server, body, now)
    except StoreUnavailableError as error:
        raise server.away(error) from error
    except RecsmithError as error:
        raise Problem("conflict", " ".join(str(error).split())[:2000]) from None


def _estimate(server: Server, body: EstimateBody, now: float) -> dict[str, Any]:
    from recsmith.serving.estimates import Asker, Target, estimate, logged_lists  # here: the server starts without scipy

    target = Target(
        exploration=body.exploration,
        scope=body.scope,
        kinds=tuple(body.kinds),
        within_hours=body.within_hours,
        clip=body.clip,
        alpha=body.alpha,
        since=now - HOUR * body.hours,
        most=body.lists,
    )
    generation = server.trials.look_at(body.model, server.generation)
    config = server.config
    asker = Asker(generation, server.store, kinds=config.history_kinds, longest=config.max_history, forgotten=server.is_forgotten)
    return estimate(logged_lists(server.store, target), asker, generation, target)
