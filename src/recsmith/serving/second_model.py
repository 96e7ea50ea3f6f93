"""`SecondModel`: a slower, costlier model, such as a language ranker, that answers only people of whom little is known.

Strong users, whose histories say much, go to the model in service; weak ones to this one, as long as its budget lasts and it is in time
(hybrid task allocation). Whatever it cannot answer, the model in service does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable

from recsmith.serving.answers import AnswerCache, Served, served_list
from recsmith.serving.batching import Batcher, ModelFailedError, OverloadError
from recsmith.serving.config import ServerConfig
from recsmith.serving.generation import Generation, Question
from recsmith.serving.trials import SERVICE, Variant

LOG = logging.getLogger("recsmith.serving")

_MOST_WAITING = 64
"""Questions that may wait for it; further ones go to the model in service at once."""
_SHARE_OF_DEADLINE = 0.8
"""What it may take of an answer's time, so that the model in service still has some."""


class SecondModel:
    """Belongs to the event loop; answers in a thread of its own, so that nobody else waits for it."""

    def __init__(self, config: ServerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config.second_model
        self.variant = SERVICE if self.config.model is None else Variant(model=self.config.model)
        self._budget = _Budget(self.config.per_minute, clock)
        self._batcher = Batcher(max_batch=config.max_batch, max_waiting=_MOST_WAITING)
        self.cache = AnswerCache(config.cache_answers, self.config.cache_seconds)

    def takes(self, variant: Variant, question: Question) -> bool:
        """Whether it is the one to ask: there is one, no experiment says otherwise, and the history is short but not empty."""
        there = self.variant != SERVICE and variant == SERVICE
        return there and 0 < len(question.items) <= self.config.at_most_events

    async def answer(
        self, generation: Generation, question: Question, *, key: Hashable, depends: Hashable, deadline: float
    ) -> Served | None:
        """Its list; None where its budget is spent, it is late, overloaded or broken. A kept list costs nothing of the budget."""
        kept = self.cache.fresh(key, depends)
        if kept is not None:
            return kept._replace(source="cache")
        if not self._budget.take():
            return None
        found = await self._in_time(generation, question, _SHARE_OF_DEADLINE * deadline)
        if found is not None and found.source == "model":
            self.cache.keep(key, depends, found)
        return found

    def close(self) -> None:
        """Stop its thread."""
        self._batcher.close()

    async def _in_time(self, generation: Generation, question: Question, seconds: float) -> Served | None:
        try:
            async with asyncio.timeout(seconds):
                return served_list(generation, *await self._batcher.ask(generation, question))
        except (TimeoutError, OverloadError):
            return None
        except ModelFailedError:
            LOG.exception("second model %s failed", generation.name)
            return None


class _Budget:
    """So many answers a minute, unused ones kept for at most a minute."""

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._left, self._at = max(per_minute, 1.0), clock()

    def take(self) -> bool:
        now = self._clock()
        self._left = min(max(self._per_minute, 1.0), self._left + (now - self._at) * self._per_minute / 60)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
