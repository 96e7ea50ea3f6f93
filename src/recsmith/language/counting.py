"""Tokens before anything is sent: a cautious estimate, unless the backend has a tokenizer."""

from __future__ import annotations

from collections.abc import Callable

from recsmith.language.completion import Prompt

CountTokens = Callable[[str], int]
"""Text → number of tokens."""

_BYTES_PER_TOKEN = 3.2
_PER_MESSAGE = 6


def estimate_tokens(text: str) -> int:
    """An estimate that errs upwards: UTF-8 bytes / 3.2 (English has about 4.5 bytes a token, other scripts 2 to 4)."""
    return int(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN) + 1


def prompt_tokens(prompt: Prompt, count: CountTokens = estimate_tokens) -> int:
    """Tokens of a whole prompt, with a few for the frame of each message."""
    return sum(count(message.content) + _PER_MESSAGE for message in prompt.messages)


def counter_of(backend: object) -> CountTokens:
    """The backend's own count where it has a tokenizer, else the estimate."""
    return getattr(backend, "count_tokens", estimate_tokens)
