"""`SecondModel`: a slower, costlier model, such as a language ranker, that answers only people of whom little is known.

Strong users, whose histories say much, go to the model in service; weak ones to this one, as long as its budget lasts and it is in time
(hybrid task allocation). Whatever it cannot answer, the model in service does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from recsmith.serving.answers import AnswerCache, Answers, Served
from recsmith.serving.batching import Batcher
from recsmith.serving.bucket import Bucket
from recsmith.serving.config import ServerConfig
from recsmith.serving.generation import Generation, Question
from recsmith.serving.trials import SERVICE, Variant

_MOST_WAITING = 64
"""Questions that may wait for it; further ones go to the model in service at once."""
_SHARE_OF_DEADLINE = 0.8
"""What it may take of an answer's time, so that the model in service still has some."""


class SecondModel:
    """Belongs to the event loop; answers in a thread of its own, so that nobody else waits for it."""

    def __init__(self, config: ServerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config.second_model
        self.variant = SERVICE if self.config.model is None else Variant(model=self.config.model)
        per_minute = self.config.per_minute
        self._budget = Bucket(per_minute / 60, max(per_minute, 1.0), clock=clock)
        self._batcher = Batcher(max_batch=config.max_batch, max_waiting=_MOST_WAITING)
        self.cache = AnswerCache(config.cache_answers, self.config.cache_seconds)
        self._answers = Answers(self._batcher, self.cache)

    def takes(self, variant: Variant, question: Question) -> bool:
        """Whether it is the one to ask: there is one, no experiment says otherwise, and the history is short but not empty."""
        there = self.variant != SERVICE and variant == SERVICE
        return there and 0 < len(question.items) <= self.config.at_most_events

    async def answer(
        self, generation: Generation, question: Question, *, key: Hashable, depends: Hashable, deadline: float
    ) -> Served | None:
        """Its list; None where its budget is spent, it is late, overloaded or broken. A kept list costs nothing of the budget."""
        kept = self._answers.kept(key, depends)
        if kept is not None:
            return kept
        if self._budget.take() > 0:
            return None
        seconds = _SHARE_OF_DEADLINE * deadline
        found = await self._answers.ask_in_time(generation, question, key=key, depends=depends, deadline=seconds)
        return found if isinstance(found, Served) else None

    def close(self) -> None:
        """Stop its thread."""
        self._batcher.close()
