"""`Tally`: what was wrong with the titles that a model wrote in its own words, before they were grounded."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class Tally:
    """Counts of texts as they were written."""

    written: int = 0
    exact: int = 0
    unreadable: int = 0
    repeated: int = 0

    def count(self, lists: Sequence[Sequence[str]], titles: Container[str]) -> None:
        """Take in the texts written for some people, one list per person; `titles` are those of the catalogue."""
        for texts in lists:
            readable = [text for text in texts if text.strip()]
            self.written += len(texts)
            self.unreadable += len(texts) - len(readable)
            self.exact += sum(text in titles for text in readable)
            self.repeated += len(readable) - len(set(readable))

    def figures(self) -> dict[str, Any]:
        """Rates so far.

        Of all texts: `exact before grounding` and `format error` (no word in it). Of those that can be read: `hallucination before
        grounding` (no title of the catalogue, letter by letter) and `duplicate` (the same person's list has it already).
        """
        written, readable = max(1, self.written), max(1, self.written - self.unreadable)
        return {
            "titles written": self.written,
            "exact before grounding": self.exact / written,
            "hallucination before grounding": (self.written - self.unreadable - self.exact) / readable,
            "duplicate": self.repeated / readable,
            "format error": self.unreadable / written,
        }
