"""`ask`: many prompts to one backend, at once, each answered exactly once, kept on disk, within a budget."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from recsmith.errors import BackendError
from recsmith.language.answer_cache import AnswerCache
from recsmith.language.budget import Budget, Ledger, price_of
from recsmith.language.completion import Backend, Completion, Prompt
from recsmith.language.counting import counter_of, prompt_tokens
from recsmith.protocols import Progress

Result = TypeVar("Result")


@dataclass(frozen=True)
class Answers:
    """One answer per prompt, in the order of the prompts, and what they cost."""

    completions: list[Completion | None]
    """None where a prompt failed and failures were to be kept."""
    figures: dict[str, Any]
    """`backend`, `prompts`, `asked`, `cached`, `repeated`, `failed`, `calls`, tokens, `money`, `currency`, `seconds`."""
    failures: dict[int, str] = field(default_factory=dict)
    """Position of a prompt → why it has no answer."""

    @property
    def texts(self) -> list[str]:
        """The texts of the answers, "" where there is none."""
        return ["" if completion is None else completion.text for completion in self.completions]


@dataclass(frozen=True)
class Estimate:
    """What a job would cost, before any of it is spent."""

    prompts: int
    cached: int
    """Prompts whose answers are known already."""
    to_ask: int
    prompt_tokens: int
    """Tokens of the prompts to be asked."""
    most_answer_tokens: int
    """Tokens of their answers, if each is as long as allowed."""
    most_money: float
    currency: str


def estimate(prompts: Sequence[Prompt], backend: Backend, *, cache: AnswerCache | None = None) -> Estimate:
    """A dry run: count what would be asked and what it could cost at most. Asks nothing."""
    keys = [prompt.key(backend.name) for prompt in prompts]
    known = {} if cache is None else cache.find(keys)
    new = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in known}
    count = counter_of(backend)
    before = sum(prompt_tokens(prompt, count) for prompt in new.values())
    after = sum(prompt.sampling.max_tokens for prompt in new.values())
    price = price_of(backend)
    return Estimate(len(prompts), sum(key in known for key in keys), len(new), before, after, price.of(before, after), price.currency)


def ask(
    prompts: Sequence[Prompt],
    backend: Backend,
    *,
    cache: AnswerCache | None = None,
    budget: Budget | Ledger | None = None,
    on_failure: Literal["raise", "keep"] = "raise",
    progress: Progress | None = None,
) -> Answers:
    """`ask_all` for callers that are not asynchronous; connections are closed at the end."""

    async def whole() -> Answers:
        try:
            return await ask_all(prompts, backend, cache=cache, budget=budget, on_failure=on_failure, progress=progress)
        finally:
            await backend.close()

    return run_here(whole())


async def ask_all(
    prompts: Sequence[Prompt],
    backend: Backend,
    *,
    cache: AnswerCache | None = None,
    budget: Budget | Ledger | None = None,
    on_failure: Literal["raise", "keep"] = "raise",
    progress: Progress | None = None,
) -> Answers:
    """Answer every prompt once; what the cache knows and what occurs twice is not asked again.

    Each answer is committed to the cache as it comes, so the same call after a kill goes on from there and pays at most the calls that
    were under way a second time. An answer that was cut at its longest length is kept and says so in `finish`. A spent budget raises
    `BudgetError`, a prompt without an answer `BackendError` (or stands in `failures` with `on_failure="keep"`), both after the calls
    under way have come back and been kept. Give a `Ledger` as budget to keep one account over several calls.
    """
    started = time.perf_counter()
    ledger = budget if isinstance(budget, Ledger) else Ledger(budget or Budget(), price_of(backend))
    job = _Job(prompts, backend, cache, ledger, progress)
    await job.work(keep_failures=on_failure == "keep")
    return job.answers(time.perf_counter() - started)


class _Job:
    """The state of one `ask_all`."""

    def __init__(
        self, prompts: Sequence[Prompt], backend: Backend, cache: AnswerCache | None, ledger: Ledger, progress: Progress | None
    ) -> None:
        self.backend, self.cache, self.ledger, self.progress = backend, cache, ledger, progress
        self.count = counter_of(backend)
        self.keys = [prompt.key(backend.name) for prompt in prompts]
        self.known = {} if cache is None else cache.find(self.keys)
        self.cached = sum(key in self.known for key in self.keys)
        self.new = {key: prompt for key, prompt in zip(self.keys, prompts, strict=True) if key not in self.known}
        self.failed: dict[str, str] = {}
        self.calls = 0
        self.held: tuple[str, Prompt] | None = None
        """A prompt that waits for reservations to be settled."""

    async def work(self, *, keep_failures: bool) -> None:
        waiting = iter(self.new.items())
        under_way: set[asyncio.Task[None]] = set()
        error: BaseException | None = None
        try:
            while True:
                if error is None:
                    error = self._start(waiting, under_way)
                if not under_way:
                    break
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                error = error or self._first_error(done, keep_failures)
        finally:
            for task in under_way:
                task.cancel()
        if error is not None:
            raise error

    def _start(self, waiting: Iterator[tuple[str, Prompt]], under_way: set[asyncio.Task[None]]) -> BaseException | None:
        """Fill the window of calls; twice the backend's concurrency, so that waits between attempts leave no place empty."""
        while len(under_way) < 2 * self.backend.concurrency:
            entry = self.held or next(waiting, None)
            if entry is None:
                return None
            key, prompt = entry
            size = (prompt_tokens(prompt, self.count), prompt.sampling.max_tokens)
            if not self.ledger.fits(*size):
                self.held = entry
                return None if under_way else self.ledger.spent()
            self.held = None
            self.ledger.reserve(*size)
            under_way.add(asyncio.create_task(self._one(key, prompt, size)))
        return None

    async def _one(self, key: str, prompt: Prompt, size: tuple[int, int]) -> None:
        completion = None
        try:
            completion = await self.backend.complete(prompt)
            if self.cache is not None:
                self.cache.add(key, completion)
        except BackendError as error:
            self.failed[key] = str(error)
            raise
        finally:
            self.ledger.settle(size, completion)
        self.calls += completion.attempts
        self.known[key] = completion
        if self.progress is not None:
            self.progress("asking the language model", len(self.known), len(set(self.keys)))

    def _first_error(self, done: set[asyncio.Task[None]], keep_failures: bool) -> BaseException | None:
        errors = [error for task in done if (error := task.exception()) is not None]
        return next((error for error in errors if not (keep_failures and isinstance(error, BackendError))), None)

    def answers(self, seconds: float) -> Answers:
        failures = {place: self.failed[key] for place, key in enumerate(self.keys) if key in self.failed}
        free = sum(key in self.known and self.known[key].cached for key in self.new)  # known to a dry run's cache
        figures = {
            "backend": self.backend.name,
            "prompts": len(self.keys),
            "asked": len(self.new) - free,
            "cached": self.cached + free,
            "repeated": len(self.keys) - self.cached - len(self.new),
            "failed": len(failures),
            "calls": self.calls,
            "prompt_tokens": self.ledger.prompt_tokens,
            "answer_tokens": self.ledger.answer_tokens,
            "reused_tokens": sum(self.known[key].reused_tokens for key in self.new if key in self.known),
            "money": self.ledger.money,
            "currency": self.ledger.price.currency,
            "seconds": seconds,
        }
        return Answers([self.known.get(key) for key in self.keys], figures, failures)


def run_here(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end, from plain code or (in a thread of its own) from inside a running event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    found: list[Result] = []
    errors: list[BaseException] = []

    def inside() -> None:
        try:
            found.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - handed on to the caller below
            errors.append(error)

    thread = threading.Thread(target=inside, name="recsmith-language")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return found[0]
