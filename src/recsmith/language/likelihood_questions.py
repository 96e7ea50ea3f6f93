"""Questions of likelihood as prompts: kept, counted, paid for and asked again like every other prompt."""

from __future__ import annotations

import json
from dataclasses import dataclass

from recsmith.errors import BackendError
from recsmith.language.completion import Backend, Completion, LikelihoodBackend, Message, Prompt, Sampling
from recsmith.language.dry_run import DryRun
from recsmith.language.stand_in import StandIn


@dataclass(frozen=True)
class LikelihoodQuestion:
    """How likely is each of these texts after that one?"""

    context: str
    continuations: tuple[str, ...]

    @property
    def prompt(self) -> Prompt:
        """The context as what is said, each continuation as an answer to it; nothing is generated."""
        answers = (Message("assistant", text) for text in self.continuations)
        return Prompt((Message("user", self.context), *answers), Sampling(max_tokens=1))


class Judging(StandIn[LikelihoodBackend]):
    """A backend that answers the prompt of a `LikelihoodQuestion` with the list of its log-likelihoods, as JSON.

    Its name is not that of the backend behind it, so that an answer in the cache is never taken for a generated one. Read are the tokens
    of the context once and of each continuation.
    """

    @property
    def name(self) -> str:
        """That of the backend, marked."""
        return f"log-likelihoods of {self.backend.name}"

    async def complete(self, prompt: Prompt) -> Completion:
        """The log-likelihoods; raises `BackendError` when there is not one for each continuation."""
        context, *texts = (message.content for message in prompt.messages)
        values = await self.backend.log_likelihood(context, tuple(texts))
        if len(values) != len(texts):
            raise BackendError(f"{self.backend.name} judged {len(values)} of {len(texts)} texts; it must judge each of them")
        read = sum(map(self.count_tokens, (context, *texts)))
        return Completion(json.dumps([float(value) for value in values]), self.name, self.backend.name, read, 0)


def judging(backend: Backend) -> Backend | None:
    """The same backend for questions of likelihood (of a dry run: a dry run); None where it knows no likelihoods."""
    if isinstance(backend, DryRun):
        inner = judging(backend.backend)
        return None if inner is None else DryRun(inner, cache=backend.cache, blank=_all_alike)
    return Judging(backend) if isinstance(backend, LikelihoodBackend) else None


def read_likelihoods(text: str | None) -> list[float] | None:
    """The numbers of an answer; None where the prompt failed."""
    return None if text is None else [float(value) for value in json.loads(text)]


def _all_alike(prompt: Prompt) -> str:
    return json.dumps([0.0] * (len(prompt.messages) - 1))
