"""The values of the port: messages, prompts, completions, and the one interface behind which every language model stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import Field

from recsmith.config import Config

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "filter"]


@dataclass(frozen=True)
class Message:
    """One turn."""

    role: Role
    content: str


class Sampling(Config):
    """How an answer is drawn; part of the identity of an answer."""

    temperature: float = Field(0.0, ge=0)
    """0 takes the likeliest word each time; larger numbers draw more freely."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Share of the probability that words are drawn from; no effect at temperature 0."""
    max_tokens: int = Field(512, ge=1)
    """Longest answer, in tokens."""
    seed: int | None = None
    """Seed of the draw, where the backend takes one."""
    stop: list[str] = []
    """Texts that end the answer."""


@dataclass(frozen=True)
class Prompt:
    """What is asked, complete: equal prompts to the same backend have one answer."""

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    choices: tuple[str, ...] = ()
    """The only answers allowed; enforced where the backend can, checked by the parser everywhere."""
    schema: Mapping[str, Any] | None = None
    """JSON schema of the answer; enforced where the backend can, checked by the parser everywhere."""
    draw: int = 0
    """Number of the draw, to ask the same question several times."""

    @classmethod
    def of(cls, user: str, *, system: str | None = None, sampling: Sampling | None = None) -> Prompt:
        """A prompt of one question, with an instruction before it where one is given."""
        before = () if system is None else (Message("system", system),)
        return cls((*before, Message("user", user)), sampling or Sampling())

    def key(self, backend: str) -> str:
        """Identity of the answer that `backend` gives to this prompt, 64 hexadecimal digits."""
        parts = {
            "backend": backend,
            "messages": [[message.role, message.content] for message in self.messages],
            "sampling": self.sampling.model_dump(mode="json"),
            "choices": list(self.choices),
            "schema": self.schema,
            "draw": self.draw,
        }
        content = json.dumps(parts, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def text(self) -> str:
        """All messages one after the other, for counting and for people."""
        return "\n\n".join(message.content for message in self.messages)

    def followed_by(self, answer: str, question: str) -> Prompt:
        """The conversation one turn further."""
        return replace(self, messages=(*self.messages, Message("assistant", answer), Message("user", question)))


@dataclass(frozen=True)
class Completion:
    """An answer, and who gave it."""

    text: str
    backend: str
    """Exactly which backend spoke."""
    model: str
    """The model as the backend names it in its answer."""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    reused_tokens: int = 0
    """Tokens of the prompt that the backend had in its own prompt cache."""
    finish: Finish = "stop"
    attempts: int = 1
    """Calls that were needed, failed ones included."""
    cached: bool = False
    """Whether it was read from the cache on disk, at no cost."""


@runtime_checkable
class Backend(Protocol):
    """A language model. One that also has `stream` or `log_likelihood` satisfies the protocols below as well."""

    @property
    def name(self) -> str:
        """Exactly which model this is and where it runs, without secrets; part of the identity of its answers."""
        ...

    @property
    def concurrency(self) -> int:
        """Prompts that it is worth giving it at a time."""
        ...

    async def complete(self, prompt: Prompt) -> Completion:
        """Answer one prompt; raises `BackendError` when there is no answer to be had."""
        ...

    async def close(self) -> None:
        """Give back connections; the next call opens new ones."""
        ...


@runtime_checkable
class StreamingBackend(Backend, Protocol):
    """A backend that gives its answer piece by piece."""

    def stream(self, prompt: Prompt) -> AsyncIterator[str]:
        """Pieces of the answer as they come; raises `BackendError` when it breaks off."""
        ...


@runtime_checkable
class LikelihoodBackend(Backend, Protocol):
    """A backend that can say how likely a given text is."""

    async def log_likelihood(self, context: str, continuations: tuple[str, ...]) -> list[float]:
        """log p(continuation | context) of each, summed over its tokens; natural logarithm."""
        ...
