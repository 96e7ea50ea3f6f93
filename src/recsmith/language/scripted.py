"""A backend that answers by a script: for tests, for documents, and for trying a pipeline before it costs anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from recsmith.errors import BackendError
from recsmith.language.completion import Completion, Prompt
from recsmith.language.counting import estimate_tokens, prompt_tokens

Script = Callable[[Prompt], str]
"""A prompt → its answer."""


class ScriptedBackend:
    """Answers by a function of the prompt, by a table of last messages, or with the entries of a list, one after the other.

    Everything asked stands in `asked`. A prompt that the script has no answer to is a `BackendError`, as is the end of a list.
    """

    concurrency = 32

    def __init__(self, script: Script | Mapping[str, str] | Sequence[str], *, name: str = "scripted", delay: float = 0.0) -> None:
        self._answer = _as_function(script)
        self.name = name
        self.delay = delay
        self.asked: list[Prompt] = []

    async def complete(self, prompt: Prompt) -> Completion:
        """The script's answer, after `delay` seconds."""
        self.asked.append(prompt)
        if self.delay:
            await asyncio.sleep(self.delay)
        text = self._answer(prompt)
        return Completion(text, self.name, self.name, prompt_tokens(prompt), estimate_tokens(text))

    async def stream(self, prompt: Prompt) -> AsyncIterator[str]:
        """The script's answer, word by word."""
        text = (await self.complete(prompt)).text
        for index, word in enumerate(text.split(" ")):
            yield word if index == 0 else f" {word}"

    async def close(self) -> None:
        """Nothing to give back."""


def _as_function(script: Script | Mapping[str, str] | Sequence[str]) -> Script:
    if callable(script):
        return script
    if isinstance(script, Mapping):
        table = dict(script)
        return lambda prompt: _found(table, prompt.messages[-1].content)
    entries = iter(script)
    return lambda prompt: _next(next(entries, None), prompt)


def _found(table: dict[str, str], question: str) -> str:
    if question not in table:
        raise BackendError(f"the script has no answer to {question[:80]!r}; it answers {len(table)} questions: add this one")
    return table[question]


def _next(answer: str | None, prompt: Prompt) -> str:
    if answer is None:
        raise BackendError(f"the script is at its end and was asked {prompt.messages[-1].content[:80]!r}; add an answer")
    return answer
