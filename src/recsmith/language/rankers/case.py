"""What a ranker is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from recsmith.config import Config
from recsmith.language.asker import Asker
from recsmith.language.parsing import is_only_numbers, parse_list, parsed_numbers
from recsmith.language.shelf import Shelf
from recsmith.language.untrusted import plain_line

Want = Literal["people", "places", "categories"]
"""people: training histories; places: latitude and longitude of items; categories: what kinds of items they are."""
Answer = TypeVar("Answer")
GroundIn = Callable[[Sequence[str], Sequence[str]], Sequence[int]]
"""Titles, candidates → position of the candidate that each title names, -1 for none."""


@dataclass(frozen=True)
class RankCase:
    """One question: in which order?"""

    history: Sequence[str]
    """Texts of what somebody took, oldest first."""
    candidates: Sequence[str]
    """Texts of the candidates, in the retriever's order."""
    request: str = ""
    """What they say in their own words; empty for nothing."""
    knowledge: Sequence[str] = ()
    """What is known of the candidates besides, one line each; the most telling first."""
    items: Sequence[int] = ()
    """Number of each item of the history in the catalogue, for rankers that look things up there."""
    candidate_items: Sequence[int] = ()
    """Number of each candidate in the catalogue."""
    times: Sequence[float] = ()
    """Seconds since the epoch of each event of the history; empty where the log has no times."""
    person: int = -1
    """Row of the training histories that is this person's own; -1 where there is none."""


@dataclass(frozen=True)
class Ranked:
    """An order of the candidates per case, and how it went."""

    orders: list[list[int]]
    """Positions of all candidates of each case, best first."""
    figures: dict[str, Any]
    """Rates: `format error` (answers without an order), `hallucination` (entries that name no candidate), `duplicate`, `incomplete`,
    `left as retrieved` (cases whose prompts failed), …"""
    notes: list[str] = field(default_factory=list)
    """What the model wrote about each case on the way (profiles, analyses); empty where it did not."""


class Ranker(Protocol):
    """Built as `cls(config)`."""

    Config: ClassVar[type[Config]]
    config: Any

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """Order the candidates of each case; what the model leaves out keeps the retriever's order, at the end.

        A case whose prompts failed keeps the retriever's order whole, and counts in the figure `left as retrieved`.
        """
        ...


@runtime_checkable
class LearningRanker(Protocol):
    """A ranker that first learns from solved cases; what it has learned is a text, saved with the run."""

    def learn(self, cases: Sequence[RankCase], right: Sequence[int], asker: Asker) -> dict[str, Any]:
        """Learn from cases whose right candidates are known; figures of how that went, for the card."""
        ...

    def learned(self) -> str:
        """What was learned; `restore` takes it back."""
        ...

    def restore(self, learned: str) -> None: ...


@runtime_checkable
class ShelfRanker(Protocol):
    """A ranker that looks things up: `look_at` comes before `learn` and `rank`."""

    @property
    def wants(self) -> tuple[Want, ...]:
        """What the shelf must hold beside texts and an encoder."""
        ...

    def look_at(self, shelf: Shelf) -> None: ...


@runtime_checkable
class OfflineRanker(Protocol):
    """A ranker with an answer of its own where there is no language model. All others are answered for by an encoder."""

    offline: ClassVar[str]
    """How figures name who spoke then, before the encoder."""

    def rank_offline(self, cases: Sequence[RankCase], by_likeness: Callable[[Sequence[RankCase]], Ranked]) -> Ranked:
        """Order the candidates; `by_likeness` orders them by the likeness of texts to history and request."""
        ...


@dataclass
class Reading:
    """Reads orders out of answers, and counts what was wrong with them."""

    ground: GroundIn
    answers: int = 0
    unreadable: int = 0
    incomplete: int = 0
    entries: int = 0
    unknown: int = 0
    inexact: int = 0
    repeated: int = 0

    def order(self, answer: str | None, candidates: Sequence[str]) -> list[int]:
        """Positions of the candidates that an answer names, each once; none for an answer that cannot be read."""
        self.answers += 1
        named = [] if answer is None else self._named(answer, candidates)
        known = [place for place in named if place >= 0]
        found = list(dict.fromkeys(known))
        self.entries += len(named)
        self.unknown += len(named) - len(known)
        self.repeated += len(known) - len(found)
        self.unreadable += not found
        self.incomplete += 0 < len(found) < len(candidates)
        return found

    def figures(self) -> dict[str, Any]:
        """Rates of all answers and entries so far.

        Of the answers: `format error` (no candidate can be read out of it) and `incomplete`. Of the entries: `hallucination before
        grounding` (a title that is no candidate's letter by letter, a number beyond the list), `hallucination` (grounding knows no
        candidate for it either) and `duplicate` (a candidate that the same answer has named before).
        """
        answers, entries = max(1, self.answers), max(1, self.entries)
        return {
            "answers read": self.answers,
            "format error": self.unreadable / answers,
            "incomplete": self.incomplete / answers,
            "hallucination before grounding": self.inexact / entries,
            "hallucination": self.unknown / entries,
            "duplicate": self.repeated / entries,
        }

    def _named(self, answer: str, candidates: Sequence[str]) -> list[int]:
        if is_only_numbers(answer):
            numbers = [number - 1 if 1 <= number <= len(candidates) else -1 for number in parsed_numbers(answer)]
            self.inexact += numbers.count(-1)
            return numbers
        entries = parse_list(answer).entries
        shown = {plain_line(candidate) for candidate in candidates}
        self.inexact += sum(entry not in shown for entry in entries)
        return [int(place) for place in self.ground(entries, candidates)] if entries else []


def ground_equal(titles: Sequence[str], candidates: Sequence[str]) -> list[int]:
    """Titles that equal a candidate but for case, as prompts write it."""
    known = {plain_line(candidate).casefold(): place for place, candidate in reversed(list(enumerate(candidates)))}
    return [known.get(plain_line(title).casefold(), -1) for title in titles]


def completed(order: Sequence[int], count: int) -> list[int]:
    """The order with what it leaves out behind, in the given order."""
    return [*order, *(place for place in range(count) if place not in set(order))]


def in_rows(answers: Sequence[Answer], cases: Sequence[RankCase]) -> list[list[Answer]]:
    """Answers about one candidate each → those of each case."""
    left = iter(answers)
    return [[next(left) for _ in case.candidates] for case in cases]


def unanswered(answers: Sequence[object | None]) -> set[int]:
    """Positions without an answer."""
    return {place for place, answer in enumerate(answers) if answer is None}


def none_answered(answers: Sequence[Sequence[object | None]]) -> set[int]:
    """Positions of cases that were asked about part by part and got an answer for no part."""
    return {number for number, parts in enumerate(answers) if parts and all(part is None for part in parts)}


def kept_where(failed: Collection[int], orders: Sequence[list[int]], figures: dict[str, Any], notes: Sequence[str] = ()) -> Ranked:
    """What a ranker gives back: `orders`, but that of the retriever for the cases `failed`, and their share as `left as retrieved`."""
    kept = [sorted(order) if number in failed else order for number, order in enumerate(orders)]
    return Ranked(kept, {**figures, "left as retrieved": len(failed) / max(1, len(orders))}, list(notes))


def by_score(scores: Sequence[float]) -> list[int]:
    """Positions by falling score; equal scores keep their order."""
    return np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable").tolist()


def reciprocal_ranks(orders: Sequence[Sequence[int]], right: Sequence[int]) -> list[float]:
    """One over the place of the right candidate in each order."""
    return [1 / (list(order).index(answer) + 1) for order, answer in zip(orders, right, strict=True)]
