"""Experiments: begin, look, end; and what another policy would have brought."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from recsmith.errors import UserError
from recsmith.serving.calls import Call
from recsmith.serving.estimating import estimate_policy
from recsmith.serving.experiment_store import Kept, experiments
from recsmith.serving.experiments_file import check_rules
from recsmith.serving.problems import Problem
from recsmith.serving.server import Server


async def list_experiments(server: Server, call: Call) -> dict[str, Any]:
    """Experiments that run or have run, oldest first."""
    kept = await server.ask(experiments)
    return {"experiments": [_document(server, one) for one in kept], "holdout": server.trials.holdout}


async def create_experiment(server: Server, call: Call) -> dict[str, Any]:
    """Begin an experiment; its arms are shown from now on."""
    try:
        check_rules(call.body)
    except UserError as error:
        raise Problem("invalid", str(error)[:2000]) from None
    await server.begin_experiment(call, call.body)
    return await _one(server, call.body.name)


async def get_experiment(server: Server, call: Call) -> dict[str, Any]:
    """An experiment as it was begun."""
    return await _one(server, call.path["experiment"])


async def stop_experiment(server: Server, call: Call) -> dict[str, Any]:
    """End an experiment for good; its results stay."""
    await server.end_experiment(call, call.path["experiment"])
    return await _one(server, call.path["experiment"])


async def experiment_results(server: Server, call: Call) -> dict[str, Any]:
    """What can be said by now, safely at every look; `holdout` is the comparison with those who take part in nothing."""
    from recsmith.serving.results import result  # here: a server that is not asked for results starts without scipy

    name = call.path["experiment"]
    try:
        return await server.ask(partial(result, name=name, metric=call.query.metric))
    except UserError as error:
        raise Problem("not-found", str(error)) from None


async def estimate(server: Server, call: Call) -> dict[str, Any]:
    """What a policy that did not run would have brought, by the lists that explored."""
    return await estimate_policy(server, call.body, now=time.time())


async def guard(server: Server, call: Call) -> dict[str, Any]:
    """How a newly activated model does against the one before."""
    return server.guard.document()


async def _one(server: Server, name: str) -> dict[str, Any]:
    for kept in await server.ask(experiments):
        if kept.definition.name == name:
            return _document(server, kept)
    raise server.not_found("experiment", name, "GET /experiments lists them")


def _document(server: Server, kept: Kept) -> dict[str, Any]:
    name = kept.definition.name
    return {
        **kept.definition.model_dump(mode="json"),
        "created": kept.created,
        "stopped": kept.stopped,
        "problem": server.trials.problems.get(name) if kept.stopped is None else None,
    }
