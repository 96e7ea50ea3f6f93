"""`DryRun`: any system with any backend, asking nothing: what would it cost at most?"""

from __future__ import annotations

from collections.abc import Callable

from recsmith.language.answer_cache import AnswerCache
from recsmith.language.completion import Backend, Completion, Prompt
from recsmith.language.counting import prompt_tokens
from recsmith.language.stand_in import StandIn


class DryRun(StandIn[Backend]):
    """Stands in the place of a backend: gives answers that the cache holds, at no cost, and to everything else an empty answer that is
    accounted as if it were as long as allowed; a prompt that comes again counts as known, as it would be then.

    A system that asks in several steps builds later prompts on the empty answers, so their length is estimated too low by what earlier
    answers would have added to them.
    """

    def __init__(self, backend: Backend, *, cache: AnswerCache | None = None, blank: Callable[[Prompt], str] = lambda prompt: "") -> None:
        """`blank` is what stands for an answer that is not asked for, where it is no empty text."""
        super().__init__(backend)
        self.cache, self._blank = cache, blank
        self._counted: set[str] = set()

    @property
    def name(self) -> str:
        """That of the backend, marked."""
        return f"dry run of {self.backend.name}"

    async def complete(self, prompt: Prompt) -> Completion:
        """The cached answer, or an empty one at the full price."""
        key = prompt.key(self.backend.name)
        known = {} if self.cache is None else self.cache.find([key])
        if key in known:
            answer = known[key]
            return Completion(answer.text, answer.backend, answer.model, finish=answer.finish, cached=True)
        if key in self._counted:
            return Completion(self._blank(prompt), self.name, self.name, cached=True)
        self._counted.add(key)
        return Completion(self._blank(prompt), self.name, self.name, prompt_tokens(prompt, self.count_tokens), prompt.sampling.max_tokens)
