"""`Answers`: a question's way to its list: a kept answer, else the model in time, else what was kept before, else popular items."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson

from recsmith.serving.batching import Batcher, ModelFailedError, OverloadError
from recsmith.serving.generation import Generation, Question

LOG = logging.getLogger("recsmith.serving")


class Shown(NamedTuple):
    """How experiments and exploration made a list, for the record."""

    arms: dict[str, str]
    """Experiment → arm."""
    propensities: list[float] | None = None
    """Probability of each item at its place, given those above it; None: the list was certain; empty: not known."""
    more: dict[str, Any] = {}
    """What the analysis needs besides."""

    def document(self) -> dict[str, Any] | None:
        """As it is written down; None when there is nothing to say."""
        return {"arms": self.arms, **self.more} if self.arms or self.more else None


class Served(NamedTuple):
    """A list as it is given out."""

    items: list[str]
    scores: list[float]
    titles: list[str | None]
    model: str
    source: str
    """"model", "cache" (the model's answer to the same question, still true), "stale" (to an earlier one), or "popularity"."""
    degraded: tuple[str, ...] = ()
    """Why it is not what it should be: "deadline", "overload", "failure", "store"."""
    shown: Shown | None = None
    """What experiments and exploration did to it; None where nobody takes part in any."""


@dataclass(frozen=True)
class Kept:
    """An answer with what it depends on."""

    served: Served
    depends: Hashable
    until: float


class AnswerCache:
    """The last answer to each question, least recently used ones go first."""

    def __init__(self, capacity: int, seconds: float) -> None:
        self._capacity = capacity
        self._seconds = seconds
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def fresh(self, key: Hashable, depends: Hashable) -> Served | None:
        """The kept answer if everything that it depends on is still the same."""
        kept = self._kept.get(key)
        if kept is None or kept.depends != depends or time.monotonic() > kept.until:
            return None
        self._kept.move_to_end(key)
        return kept.served

    def stale(self, key: Hashable) -> Served | None:
        """The kept answer, whatever has changed since."""
        kept = self._kept.get(key)
        return None if kept is None else kept.served

    def keep(self, key: Hashable, depends: Hashable, served: Served) -> None:
        """Keep an answer, in place of an earlier one to the same question."""
        if not self._capacity:
            return
        self._kept[key] = Kept(served, depends, time.monotonic() + self._seconds)
        self._kept.move_to_end(key)
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()

    def forget(self, user: str) -> None:
        """Drop the answers to one person: keys begin with who asked."""
        for key in [key for key in self._kept if isinstance(key, tuple) and key[0] == user]:
            del self._kept[key]


class Answers:
    """Belongs to the event loop."""

    def __init__(self, batcher: Batcher, cache: AnswerCache, *, observe: Callable[[Served, float], None] = lambda served, seconds: None):
        """`observe` is told each answer and the seconds that it took."""
        self._batcher = batcher
        self._observe = observe
        self.cache = cache

    async def answer(
        self,
        generation: Generation,
        question: Question,
        *,
        key: Hashable,
        depends: Hashable,
        deadline: float,
        degraded: tuple[str, ...] = (),
    ) -> Served:
        """The best list that can be had within `deadline` seconds.

        `key` names the question, `depends` everything that its answer depends on; a change of either makes a new answer necessary.
        An answer that is already `degraded` is never kept.
        """
        started = time.perf_counter()
        served = await self._find(generation, question, key=key, depends=depends, deadline=deadline, degraded=degraded)
        self._observe(served, time.perf_counter() - started)
        return served

    async def _find(
        self, generation: Generation, question: Question, *, key: Hashable, depends: Hashable, deadline: float, degraded: tuple[str, ...]
    ) -> Served:
        kept = self.kept(key, depends)
        if kept is not None:
            return kept
        found = await self.ask_in_time(generation, question, key=key, depends=depends, deadline=deadline, degraded=degraded)
        return found if isinstance(found, Served) else self._fall_back(generation, question, key, (*degraded, found))

    def kept(self, key: Hashable, depends: Hashable) -> Served | None:
        """The kept answer if it is still true."""
        kept = self.cache.fresh(key, depends)
        return None if kept is None else kept._replace(source="cache" if kept.source == "model" else kept.source)

    async def ask_in_time(
        self,
        generation: Generation,
        question: Question,
        *,
        key: Hashable,
        depends: Hashable,
        deadline: float,
        degraded: tuple[str, ...] = (),
    ) -> Served | str:
        """The model's list, which is kept unless it is already `degraded`; or why there is none: "deadline", "overload", "failure"."""
        try:
            async with asyncio.timeout(deadline):
                items, scores, source = await self._batcher.ask(generation, question)
        except TimeoutError:
            return "deadline"
        except OverloadError:
            return "overload"
        except ModelFailedError:
            LOG.exception("model %s failed", generation.name)
            return "failure"
        served = served_list(generation, items, scores, source, degraded)
        if not degraded:
            self.cache.keep(key, depends, served)
        return served

    def _fall_back(self, generation: Generation, question: Question, key: Hashable, degraded: tuple[str, ...]) -> Served:
        kept = self.cache.stale(key)
        if kept is not None:
            still = [place for place, item in enumerate(kept.items) if _still_shown(generation, question, item)]
            if len(still) == len(kept.items):
                return kept._replace(source="stale", degraded=degraded)
        return served_list(generation, *generation.popular(question), "popularity", degraded)


def _still_shown(generation: Generation, question: Question, item: str) -> bool:
    """Whether a kept item may still be shown: it is there, not hidden, and not excluded by now."""
    index = generation.index(item)
    if not generation.shows(index) or (question.excluded == index).any():
        return False
    return question.rules is None or question.rules.allowed is None or bool(question.rules.allowed[index])


def served_list(generation: Generation, items: np.ndarray, scores: np.ndarray, source: str, degraded: tuple[str, ...] = ()) -> Served:
    """Indices as names and titles."""
    index = items.tolist()
    names = [generation.item_names[item] for item in index]
    return Served(names, scores.tolist(), [generation.titles[item] for item in index], generation.name, source, degraded)


def list_row(served: Served, list_id: str, user: str | None, *, now: float) -> dict[str, Any]:
    """A served list as the store keeps it."""
    shown = served.shown or Shown({})
    experiment = shown.document()
    propensities = [1.0] * len(served.items) if shown.propensities is None else shown.propensities
    return {
        "list_id": list_id,
        "user_id": user,
        "model": served.model,
        "source": served.source,
        "items": orjson.dumps(served.items).decode(),
        "propensities": orjson.dumps(propensities).decode(),
        "experiment": None if experiment is None else orjson.dumps(experiment).decode(),
        "time": now,
    }
