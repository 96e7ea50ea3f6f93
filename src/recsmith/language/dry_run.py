"""`DryRun`: any system with any backend, asking nothing: what would it cost at most?"""

from __future__ import annotations

from recsmith.language.answer_cache import AnswerCache
from recsmith.language.budget import Price
from recsmith.language.completion import Backend, Completion, Prompt
from recsmith.language.counting import CountTokens, counter_of, prompt_tokens


class DryRun:
    """Stands in the place of a backend: gives answers that the cache holds, at no cost, and to everything else an empty answer that is
    accounted as if it were as long as allowed.

    A system that asks in several steps builds later prompts on the empty answers, so their length is estimated too low by what earlier
    answers would have added to them.
    """

    def __init__(self, backend: Backend, *, cache: AnswerCache | None = None) -> None:
        self._backend, self._cache = backend, cache
        self.concurrency = backend.concurrency

    @property
    def name(self) -> str:
        """That of the backend, marked."""
        return f"dry run of {self._backend.name}"

    @property
    def price(self) -> Price:
        """What the backend charges."""
        return getattr(self._backend, "price", Price())

    @property
    def count_tokens(self) -> CountTokens:
        """How the backend counts."""
        return counter_of(self._backend)

    async def complete(self, prompt: Prompt) -> Completion:
        """The cached answer, or an empty one at the full price."""
        key = prompt.key(self._backend.name)
        known = {} if self._cache is None else self._cache.find([key])
        if key in known:
            answer = known[key]
            return Completion(answer.text, answer.backend, answer.model, finish=answer.finish, cached=True)
        return Completion("", self.name, self.name, prompt_tokens(prompt, self.count_tokens), prompt.sampling.max_tokens)

    async def close(self) -> None:
        """Close the backend."""
        await self._backend.close()
