"""Slates over HTTP: filled slot by slot where the model can, under the rules, with the fallbacks of lists; whole or as they grow."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recsmith.serving.answers import Served, served_list
from recsmith.serving.batching import ModelFailedError
from recsmith.serving.generation import Generation, Slate
from recsmith.serving.problems import Problem
from recsmith.serving.rule_set import Person
from recsmith.serving.server import Asked, Server

LOG = logging.getLogger("recsmith.serving")
Filled = tuple[Served, Generation]


async def slate_for_person(
    server: Server, user: str, size: int, slate: Slate, *, include_seen: bool | None, deadline_ms: int | None
) -> Filled:
    """A slate for a person. Raises `Problem` (409) for what the model in service cannot do."""
    asked = _asking(await server.asked(user, size, include_seen=include_seen), slate)
    return await _answer(server, asked, (user, "slate", size, include_seen, slate), deadline_ms)


async def slate_for_session(
    server: Server,
    history: Sequence[str],
    size: int,
    slate: Slate,
    *,
    include_seen: bool | None,
    allow: Sequence[str] | None,
    deny: Sequence[str],
    person: Person,
    deadline_ms: int | None,
) -> Filled:
    """A slate for somebody of whom only this is known. Raises `Problem` (409) for what the model in service cannot do."""
    generation = server.generation
    question = generation.session(size, history, include_seen=include_seen, allow=allow, deny=deny, person=person)
    asked = _asking(Asked(generation, question, (generation.number, server.revision)), slate)
    allowed = None if allow is None else tuple(allow)
    key: Hashable = (None, "slate", size, include_seen, slate, tuple(history), allowed, tuple(deny), person)
    return await _answer(server, asked, key, deadline_ms)


def described(served: Served, generation: Generation) -> dict[str, Any]:
    """How the slate came about."""
    slots = generation.fills_slates and served.source != "popularity" and served.model == generation.name
    return {"filled": "slots" if slots else "list", "log_likelihood": float(sum(served.scores)) if slots else None}


async def growing_slate(
    server: Server, user: str, size: int, slate: Slate, *, include_seen: bool | None, deadline_ms: int | None
) -> AsyncGenerator[Filled, None]:
    """The slate of a person after each slot, ever longer; the last one may be shorter than asked for when the deadline has passed.

    Who stops listening stops the model before its next slot. Models that answer with lists give one whole slate.
    """
    asked = _asking(await server.asked(user, size, include_seen=include_seen), slate)
    generation = asked.generation
    if not generation.fills_slates or not len(asked.question.items):
        yield await _answer(server, asked, (user, "slate", size, include_seen, slate), deadline_ms)
        return
    items: list[int] = []
    scores: list[float] = []
    slots = _Slots(asked, server)
    ends = asyncio.get_running_loop().time() + server.seconds(deadline_ms)
    try:
        while (slot := await slots.next(ends)) is not None:
            items.append(slot[0])
            scores.append(slot[1])
            yield _so_far(generation, items, scores, asked.degraded), generation
    except TimeoutError:
        yield _cut_short(asked, items, scores, "deadline"), generation
    except ModelFailedError:
        LOG.exception("model %s failed", generation.name)
        yield _cut_short(asked, items, scores, "failure"), generation
    finally:
        slots.stop()


class _Slots:
    """Fills a slate beside the event loop, slot after slot."""

    def __init__(self, asked: Asked, server: Server) -> None:
        self._asked = asked
        self._loop = asyncio.get_running_loop()
        self._filled: asyncio.Queue[tuple[int, float] | ModelFailedError | None] = asyncio.Queue()
        self._stopped = threading.Event()
        self._loop.run_in_executor(server.beside, self._fill)

    async def next(self, ends: float) -> tuple[int, float] | None:
        """Item and score of the next slot, None behind the last. Raises `TimeoutError` at the time `ends`, and `ModelFailedError`."""
        async with asyncio.timeout_at(ends):
            slot = await self._filled.get()
        if isinstance(slot, ModelFailedError):
            raise slot
        return slot

    def stop(self) -> None:
        """Let the model stop before its next slot."""
        self._stopped.set()

    def _fill(self) -> None:
        end = None
        try:
            if not self._stopped.is_set():
                self._asked.generation.fill_aloud(self._asked.question, self._told)
        except _StoppedError:
            return
        except Exception as error:  # noqa: BLE001 - whatever a model does, who asked gets what there is
            end = ModelFailedError(f"{type(error).__name__}: {error}")
            end.__cause__ = error
        self._hand_over(end)

    def _told(self, items: Any, scores: Any) -> None:
        if self._stopped.is_set():
            raise _StoppedError
        if items[0] >= 0:
            self._hand_over((int(items[0]), float(scores[0])))

    def _hand_over(self, slot: tuple[int, float] | ModelFailedError | None) -> None:
        self._loop.call_soon_threadsafe(self._filled.put_nowait, slot)


class _StoppedError(Exception):
    """Nobody listens any more."""


def _asking(asked: Asked, slate: Slate) -> Asked:
    model = asked.generation.recommender.model
    if slate.wanted is not None and not getattr(model, "conditioned", False):
        title = asked.generation.recommender.recipe.title
        raise Problem("conflict", f"`wanted`: {title} does not learn from responses, so it cannot be asked for one; leave it out")
    return asked._replace(question=replace(asked.question, slate=slate))


async def _answer(server: Server, asked: Asked, key: Hashable, deadline_ms: int | None) -> Filled:
    served = await server.answers.answer(
        asked.generation,
        asked.question,
        key=key,
        depends=asked.depends,
        deadline=server.seconds(deadline_ms),
        degraded=asked.degraded,
    )
    return served, asked.generation


def _cut_short(asked: Asked, items: list[int], scores: list[float], why: str) -> Served:
    """The slots that were filled in time; what is popular where there are none."""
    degraded = (*asked.degraded, why)
    if items:
        return _so_far(asked.generation, items, scores, degraded)
    return served_list(asked.generation, *asked.generation.popular(asked.question), "popularity", degraded)


def _so_far(generation: Generation, items: list[int], scores: list[float], degraded: tuple[str, ...]) -> Served:
    return served_list(generation, np.array(items, dtype=np.int64), np.array(scores), "model", degraded)
