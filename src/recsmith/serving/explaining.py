"""Evidence for an item over the live history: `recsmith.evidence` on what the server knows up to this moment."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from recsmith.errors import UserError
from recsmith.evidence import Evidence, find_evidence
from recsmith.serving.generation import Generation, Question
from recsmith.serving.problems import Problem
from recsmith.serving.server import Server
from recsmith.serving.trials import SERVICE


async def evidence_for_person(server: Server, user: str, item: str, last: int) -> dict[str, Any]:
    """What carries an item for a person, in the model that answers this person. Raises `Problem` (404, 409, 503)."""
    variant = SERVICE if server.trials.idle else server.trials.treatment(user).variant
    asked = await server.asked(user, generation=server.trials.generation(variant, server.generation))
    if asked.degraded:
        raise Problem("store-unavailable", "the live history cannot be read, and without it the evidence would be wrong; ask again later")
    return await _evidence(server, asked.generation, asked.question, item, last)


async def evidence_for_session(server: Server, history: list[str], item: str, last: int) -> dict[str, Any]:
    """What carries an item for somebody of whom only this history is known. Raises `Problem` (404, 409)."""
    generation = server.generation
    return await _evidence(server, generation, generation.session(1, history), item, last)


async def _evidence(server: Server, generation: Generation, question: Question, item: str, last: int) -> dict[str, Any]:
    index = generation.index(item)
    if index < 0:
        raise server.not_found("item", item, "write it with PUT /items/{item_id}")
    try:
        found = await asyncio.get_running_loop().run_in_executor(server.beside, _look, generation, question, index, last)
    except UserError as error:
        raise Problem("conflict", str(error)) from None
    return {"model": generation.name, **asdict(found)}


def _look(generation: Generation, question: Question, item: int, last: int) -> Evidence:
    history, users = generation.histories([question])
    found = find_evidence(generation.recommender.judge, history, int(users[0]), item, last=last)
    return found.named(generation.item_names.__getitem__, generation.titles.__getitem__)
