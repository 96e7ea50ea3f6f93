"""`Batcher`: questions of several requests answered in one pass of the model, without waiting for company.

While the model is busy with one batch, the questions that arrive form the next; an idle model takes a single question at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from recsmith.serving.generation import Generation, Question

Answer = tuple[Any, Any, str]
"""Item indices and scores, best first, and where they come from."""


Wait = Callable[[str], AbstractContextManager[Any]]
"""`wait(name)`: the span, for traces, of something that is waited for."""


def no_span(name: str) -> AbstractContextManager[Any]:
    """No span."""
    return nullcontext()


class OverloadError(Exception):
    """So many questions wait that another one would not be answered in time."""


class ModelFailedError(Exception):
    """The model broke on a batch; the cause says how."""


@dataclass
class _Waiting:
    generation: Generation
    question: Question
    future: asyncio.Future[Answer]


class Batcher:
    """One thread with the model; belongs to the event loop."""

    def __init__(
        self, *, max_batch: int, max_waiting: int, observe: Callable[[int], None] = lambda size: None, wait: Wait = no_span
    ) -> None:
        """`observe` is told the size of each batch; `wait` is entered by whoever waits for an answer."""
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._observe = observe
        self._wait = wait
        self._waiting: deque[_Waiting] = deque()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="recsmith-model")
        self._runner: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Questions that no batch has taken yet."""
        return len(self._waiting)

    async def ask(self, generation: Generation, question: Question) -> Answer:
        """The answer; a caller that gives up costs nothing once its question has not been taken. Raises `OverloadError`,
        `ModelFailedError`."""
        if len(self._waiting) >= self._max_waiting:
            raise OverloadError(f"{len(self._waiting)} questions are waiting")
        waiting = _Waiting(generation, question, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        with self._wait("model"):
            return await waiting.future

    def close(self) -> None:
        """Stop the thread."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._take()
            if not batch:
                continue
            self._observe(len(batch))
            questions = [waiting.question for waiting in batch]
            try:
                answers = await loop.run_in_executor(self._executor, batch[0].generation.answer, questions)
            except Exception as error:  # noqa: BLE001 - whatever a model does, the callers fall back, and the next batch must not suffer
                _fail(batch, error)
                continue
            _deliver(batch, answers)

    def _take(self) -> list[_Waiting]:
        """The first questions of one generation that somebody still waits for."""
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self._max_batch:
            if batch and self._waiting[0].generation is not batch[0].generation:
                break
            waiting = self._waiting.popleft()
            if not waiting.future.done():
                batch.append(waiting)
        return batch


def _deliver(batch: Sequence[_Waiting], answers: Sequence[Answer]) -> None:
    for waiting, answer in zip(batch, answers, strict=True):
        if not waiting.future.done():
            waiting.future.set_result(answer)


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.future.done():
            failure = ModelFailedError(f"{type(error).__name__}: {error}")
            failure.__cause__ = error
            waiting.future.set_exception(failure)
