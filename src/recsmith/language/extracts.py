"""`ExtractBackend`: the answer of writers where there is no language model: the words that the told texts have most in common."""

from __future__ import annotations

import re
from collections import Counter

from recsmith.language.completion import Completion, Prompt

_QUOTED = re.compile(r'"([^"]*)"')
_WORD = re.compile(r"[^\W\d_]{3,}")
_SHORT = frozenset({"and", "the", "for", "with", "from", "that", "this", "its", "are", "was", "not", "but", "you", "your", "their", "into"})


class ExtractBackend:
    """Answers a prompt with at most `words` words of what it quotes, the most frequent first, equal ones in the order of first sight.

    A baseline of ours and the embedded default of writers: it knows nothing, decides nothing (the first of given choices), costs nothing
    and says so in its name.
    """

    concurrency = 32
    name = "none; extracts"

    def __init__(self, words: int = 12) -> None:
        self.words = words

    async def complete(self, prompt: Prompt) -> Completion:
        """The extract."""
        return Completion(prompt.choices[0] if prompt.choices else extract(prompt.messages[-1].content, self.words), self.name, self.name)

    async def close(self) -> None:
        """Nothing to give back."""


def extract(text: str, words: int) -> str:
    """The most frequent words of what stands in double quotes, with commas between them."""
    found = (word.casefold() for quoted in _QUOTED.findall(text) for word in _WORD.findall(quoted))
    return ", ".join(word for word, _ in Counter(word for word in found if word not in _SHORT).most_common(words))
