"""`Asker`: a backend with its cache and one account, for systems that ask in several steps; it keeps the figures of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from recsmith.errors import UserError
from recsmith.language.answer_cache import AnswerCache
from recsmith.language.asking import ask
from recsmith.language.budget import Budget, Ledger, price_of
from recsmith.language.completion import Backend, Prompt
from recsmith.language.counting import CountTokens, counter_of
from recsmith.language.likelihood_questions import LikelihoodQuestion, judging, read_likelihoods
from recsmith.protocols import Progress

_SUMMED = ("prompts", "asked", "cached", "repeated", "failed", "calls", "reused_tokens", "seconds")


class Asker:
    """Asks prompts of one backend; the budget holds for everything that it is ever asked."""

    def __init__(
        self,
        backend: Backend,
        *,
        cache: AnswerCache | None = None,
        budget: Budget | None = None,
        on_failure: Literal["raise", "keep"] = "raise",
        progress: Progress | None = None,
    ) -> None:
        self.backend = backend
        self.ledger = Ledger(budget or Budget(), price_of(backend))
        self._cache, self._on_failure, self._progress = cache, on_failure, progress
        self._sums: dict[str, float] = dict.fromkeys(_SUMMED, 0)
        self._first_failure: str | None = None

    @property
    def count_tokens(self) -> CountTokens:
        """How the backend counts."""
        return counter_of(self.backend)

    @property
    def knows_likelihoods(self) -> bool:
        """Whether `log_likelihoods` can be asked."""
        return self._judging is not None

    def ask(self, prompts: Sequence[Prompt]) -> list[str | None]:
        """The text of each answer; None where a prompt failed and failures are kept."""
        return self._ask(prompts, self.backend)

    def log_likelihoods(self, questions: Sequence[LikelihoodQuestion]) -> list[list[float] | None]:
        """log p of each continuation of each question, in nats; None where a question failed and failures are kept, all 0 in a dry run.

        Raises `UserError` when the backend knows no likelihoods.
        """
        if self._judging is None:
            raise UserError(f"{self.backend.name} knows no likelihoods; use a local model")
        return [read_likelihoods(text) for text in self._ask([question.prompt for question in questions], self._judging)]

    def figures(self) -> dict[str, Any]:
        """What was asked and spent so far, and of whom; where prompts failed, also why the first of them did."""
        spent = {"prompt_tokens": self.ledger.prompt_tokens, "answer_tokens": self.ledger.answer_tokens, "money": self.ledger.money}
        why = {} if self._first_failure is None else {"first failure": self._first_failure}
        return {"backend": self.backend.name, **self._sums, **spent, "currency": self.ledger.price.currency, **why}

    @cached_property
    def _judging(self) -> Backend | None:
        return judging(self.backend)

    def _ask(self, prompts: Sequence[Prompt], backend: Backend) -> list[str | None]:
        answers = ask(prompts, backend, cache=self._cache, budget=self.ledger, on_failure=self._on_failure, progress=self._progress)
        for name in _SUMMED:
            self._sums[name] += answers.figures[name]
        self._first_failure = self._first_failure or next(iter(answers.failures.values()), None)
        return [None if completion is None else completion.text for completion in answers.completions]
