"""Grounding: free text → items of the catalogue, by matchers that are handed in and asked in turn; and how much was invented.

Nothing that no matcher vouches for gets into an answer. What the language model made up, repeated or wrote in no readable form is
counted and reported with the lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from recsmith.decoding.grounding_titles import variants
from recsmith.errors import UserError
from recsmith.protocols import RankedLists


@dataclass(frozen=True)
class Matches:
    """What a matcher makes of some titles."""

    items: np.ndarray
    """Item index, -1 where there is none; int64 `[title]`."""
    scores: np.ndarray
    """How sure it is, from 0 to 1; float32 `[title]`."""

    @classmethod
    def none(cls, count: int) -> Matches:
        """No match for any of `count` titles."""
        return cls(np.full(count, -1, dtype=np.int64), np.zeros(count, dtype=np.float32))


@runtime_checkable
class Matcher(Protocol):
    """Titles → items, or -1: a matcher must rather say nothing than guess."""

    name: str

    def match(self, titles: Sequence[str], *, allowed: np.ndarray | None = None) -> Matches:
        """The item that each title names; `allowed` (bool `[item]`) restricts the answers."""
        ...


@dataclass(frozen=True)
class Grounded:
    """Titles and the items they name."""

    items: np.ndarray
    """Item index, -1 where nobody knows the title; int64 `[title]`."""
    scores: np.ndarray
    """How sure the matcher was; float32 `[title]`."""
    by: np.ndarray
    """Which matcher found it (position in `Grounding.matchers`), -1 for none; int64 `[title]`."""


@dataclass(frozen=True)
class GroundedLists:
    """Lists of items out of lists of titles."""

    lists: RankedLists
    figures: dict[str, Any]
    """Rates of all entries: `hallucination`, `duplicate`, one per matcher; `format error` of all lists; and the counts behind them."""


class Grounding:
    """Matchers in the order in which they are asked; each sees what those before it did not know.

    `matchers` look at spelling; what none of them knows is read again without remarks behind it. `last`, a dear one that looks at
    meaning, is asked about the rest.
    """

    def __init__(self, matchers: Sequence[Matcher], *, last: Matcher | None = None) -> None:
        if not matchers:
            raise UserError("grounding needs at least one matcher; for example ExactMatcher(titles)")
        self.matchers = [*matchers, *([last] if last is not None else [])]
        self._by_spelling = range(len(matchers))

    def ground(self, titles: Sequence[str], *, allowed: np.ndarray | None = None) -> Grounded:
        """The item of each title."""
        none = Matches.none(len(titles))
        found = Grounded(none.items, none.scores, np.full(len(titles), -1, dtype=np.int64))
        self._ask(list(titles), found, self._by_spelling, allowed)
        self._reread(titles, found, allowed)
        self._ask(list(titles), found, range(len(self._by_spelling), len(self.matchers)), allowed)
        return found

    def ground_lists(self, lists: Sequence[Sequence[str] | None], k: int, *, allowed: np.ndarray | None = None) -> GroundedLists:
        """The first k distinct known items of each list, best first; None stands for an answer that could not be parsed.

        Scores fall by one from place to place. Unknown and repeated entries are left out and counted.
        """
        flat = [title for entries in lists for title in entries or ()]
        grounded = self.ground(flat, allowed=allowed)
        answer = RankedLists(np.full((len(lists), k), -1, dtype=np.int64), np.full((len(lists), k), -np.inf, dtype=np.float32))
        place, repeated = 0, 0
        for row, entries in enumerate(lists):
            size = len(entries or ())
            items = grounded.items[place : place + size]
            known = items[items >= 0]
            distinct = known[np.sort(np.unique(known, return_index=True)[1])]
            repeated += len(known) - len(distinct)
            kept = distinct[:k]
            answer.items[row, : len(kept)] = kept
            answer.scores[row, : len(kept)] = -np.arange(len(kept))
            place += size
        return GroundedLists(answer, self._figures(grounded, repeated, lists))

    def _ask(self, titles: list[str], found: Grounded, numbers: range, allowed: np.ndarray | None) -> None:
        """Ask these matchers, one after the other, about what is unknown so far."""
        for number in numbers:
            open_ = np.flatnonzero(found.items < 0)
            if len(open_) == 0:
                break
            answer = self.matchers[number].match([titles[place] for place in open_], allowed=allowed)
            hit = answer.items >= 0
            found.items[open_[hit]], found.scores[open_[hit]] = answer.items[hit], answer.scores[hit]
            found.by[open_[hit]] = number

    def _reread(self, titles: Sequence[str], found: Grounded, allowed: np.ndarray | None) -> None:
        """Ask about other readings of what is still unknown; the first reading that somebody knows counts."""
        readings = [(place, other) for place in np.flatnonzero(found.items < 0).tolist() for other in variants(titles[place])]
        none = Matches.none(len(readings))
        answer = Grounded(none.items, none.scores, np.full(len(readings), -1, dtype=np.int64))
        self._ask([text for _, text in readings], answer, self._by_spelling, allowed)
        for number, (place, _) in enumerate(readings):
            if answer.items[number] >= 0 and found.items[place] < 0:
                found.items[place], found.scores[place], found.by[place] = answer.items[number], answer.scores[number], answer.by[number]

    def _figures(self, grounded: Grounded, repeated: int, lists: Sequence[Sequence[str] | None]) -> dict[str, Any]:
        entries = len(grounded.items)
        unread = sum(entries is None for entries in lists)
        share = 1 / max(1, entries)
        by = {matcher.name: float((grounded.by == number).sum()) * share for number, matcher in enumerate(self.matchers)}
        return {
            "lists": len(lists),
            "entries": entries,
            "hallucination": float((grounded.items < 0).sum()) * share,
            "duplicate": repeated * share,
            "format error": unread / max(1, len(lists)),
            **by,
        }
