"""`Asker`: a backend with its cache and one account, for systems that ask in several steps; it keeps the figures of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from recsmith.language.answer_cache import AnswerCache
from recsmith.language.asking import ask
from recsmith.language.budget import Budget, Ledger, Price
from recsmith.language.completion import Backend, LikelihoodBackend, Prompt
from recsmith.language.counting import CountTokens, counter_of
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
        self.ledger = Ledger(budget or Budget(), getattr(backend, "price", Price()))
        self._cache, self._on_failure, self._progress = cache, on_failure, progress
        self._sums: dict[str, float] = dict.fromkeys(_SUMMED, 0)

    @property
    def count_tokens(self) -> CountTokens:
        """How the backend counts."""
        return counter_of(self.backend)

    def ask(self, prompts: Sequence[Prompt]) -> list[str | None]:
        """The text of each answer; None where a prompt failed and failures are kept."""
        answers = ask(prompts, self.backend, cache=self._cache, budget=self.ledger, on_failure=self._on_failure, progress=self._progress)
        for name in _SUMMED:
            self._sums[name] += answers.figures[name]
        return [None if completion is None else completion.text for completion in answers.completions]

    @property
    def likelihood(self) -> LikelihoodBackend | None:
        """The backend, if it knows likelihoods."""
        return self.backend if isinstance(self.backend, LikelihoodBackend) else None

    def figures(self) -> dict[str, Any]:
        """What was asked and spent so far, and of whom."""
        spent = {"prompt_tokens": self.ledger.prompt_tokens, "answer_tokens": self.ledger.answer_tokens, "money": self.ledger.money}
        return {"backend": self.backend.name, **self._sums, **spent, "currency": self.ledger.price.currency}
