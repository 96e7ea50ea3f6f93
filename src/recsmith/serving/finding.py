"""Search in words as a request: what may be found, under which rules, and in whose order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from recsmith.decoding import BoundRules, Condition
from recsmith.errors import RecsmithError
from recsmith.serving.answers import Served, served_list
from recsmith.serving.batching import ModelFailedError, OverloadError
from recsmith.serving.generation import Generation, Question
from recsmith.serving.problems import Problem
from recsmith.serving.rule_conditions import read_condition
from recsmith.serving.rule_set import Person
from recsmith.serving.server import Asked, Server

if TYPE_CHECKING:
    from recsmith.serving.searching import Hits, Way

LOG = logging.getLogger("recsmith.serving")
CANDIDATES = 200
"""Items that each way of looking contributes at least."""
MOST_PERSONAL = 50
"""Found items that the model puts into a person's order; those behind keep the order of the search."""
_RANK_CONSTANT = 60.0


@dataclass(frozen=True)
class Search:
    """What is looked for."""

    words: str
    k: int
    user: str | None = None
    """Whose taste the order follows; None: the order of the search alone."""
    personal: float = 1.0
    """Weight of the person's order beside that of the search, which has 1."""
    where: Mapping[str, Any] | None = None
    """A condition as in the rules file that items must meet."""
    person: Person | None = None
    """For rules that ask for it; None takes what is known about the user."""
    deadline_ms: int | None = None


@dataclass(frozen=True)
class Findings:
    """What was found, and how."""

    served: Served
    ways: tuple[Way, ...]
    personal: bool
    """Whether the model had a say in the order."""


async def search(server: Server, wanted: Search) -> Findings:
    """Items by words, under the rules. Raises `Problem` (409) for a condition that does not fit the catalogue."""
    asked = await _asked(server, wanted)
    generation, question = asked.generation, asked.question
    hits = await _hits(server, generation, question, wanted)
    order, degraded = None, asked.degraded
    if wanted.user is not None and wanted.personal > 0 and len(question.items) and len(hits.items):
        order, failed = await _personal_order(server, asked, hits, wanted)
        degraded = (*degraded, *failed)
    scores = np.full(generation.items, -np.inf, dtype=np.float32)
    scores[hits.items] = hits.scores
    if order is not None:
        scores[order] += wanted.personal / (_RANK_CONSTANT + np.arange(1, len(order) + 1))
    served = served_list(generation, *generation.ranked(scores, question), "model", degraded)
    return Findings(served, hits.ways, order is not None)


async def _asked(server: Server, wanted: Search) -> Asked:
    """Who searches; rules hold by what they forbid and cap, while pins, quotas and boosts, which are about recommending, rest."""
    if wanted.user is not None:
        asked = await server.asked(wanted.user, wanted.k, include_seen=True)
    else:
        generation = server.generation
        question = generation.session(wanted.k, [], include_seen=True, person=wanted.person or Person())
        asked = Asked(generation, question, (generation.number, server.revision))
    rules = asked.question.rules
    if rules is not None:
        rules = BoundRules(rules.size, allowed=rules.allowed, caps=rules.caps)
    return asked._replace(question=replace(asked.question, rules=rules, deny=np.zeros(0, dtype=np.int64)))


async def _hits(server: Server, generation: Generation, question: Question, wanted: Search) -> Hits:
    try:
        where: Condition | None = None if wanted.where is None else read_condition(wanted.where)
        allowed = None if question.rules is None else question.rules.allowed
        count = min(generation.items, max(CANDIDATES, 2 * wanted.k))
        look = partial(server.search.find, generation, wanted.words, count, where=where, allowed=allowed)
        return await asyncio.get_running_loop().run_in_executor(server.search.executor, look)
    except RecsmithError as error:
        raise Problem("conflict", " ".join(str(error).split())[:500]) from None


async def _personal_order(server: Server, asked: Asked, hits: Hits, wanted: Search) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The best of what was found in the person's order, or why there is none."""
    some = hits.items[:MOST_PERSONAL]
    question = replace(asked.question, k=len(some), allow=some, rules=None, include_seen=True)
    try:
        async with asyncio.timeout(server.seconds(wanted.deadline_ms)):
            items, _, _ = await server.batcher.ask(asked.generation, question)
    except TimeoutError:
        return None, ("deadline",)
    except OverloadError:
        return None, ("overload",)
    except ModelFailedError:
        LOG.exception("model %s failed", asked.generation.name)
        return None, ("failure",)
    return items, ()
