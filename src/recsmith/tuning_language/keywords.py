"""Distinctive words of some items: a taste or a wish in words without anybody who writes it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import log

_WORD = re.compile(r"\w+")


class Keywords:
    """Words that some texts use more than the others of a collection do (counts times inverse document frequency)."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._words = [_WORD.findall(text.casefold()) for text in texts]
        self._found = Counter(word for words in self._words for word in set(words))

    def of(self, items: Sequence[int], *, most: int) -> str:
        """The `most` distinctive words of these items, the most distinctive first; equal ones as they stand in the texts."""
        counts = Counter(word for item in items for word in self._words[item])
        weights = {word: count * log(1 + len(self._words) / self._found[word]) for word, count in counts.items()}
        return ", ".join(sorted(weights, key=lambda word: -weights[word])[:most])
