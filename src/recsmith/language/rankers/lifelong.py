"""Retrieval over a lifelong history: the prompt tells the events that bear on the candidates, and the latest ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from recsmith.config import Config
from recsmith.errors import UserError
from recsmith.language.asker import Asker
from recsmith.language.history_retrieval import EventRetriever
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, Want, ground_equal
from recsmith.language.rankers.list_wise import ListWise, ListWiseConfig
from recsmith.language.shelf import Shelf


class LifelongConfig(Config):
    """How the window is filled."""

    events: int = Field(20, ge=1)
    """Events that the prompt tells, in order of time."""
    latest: int = Field(5, ge=0)
    """How many of them are the latest ones, whatever they are."""
    template: str = "rank-with-knowledge"
    """Prompt template, with the fields of `list-wise`."""
    max_tokens: int = Field(4000, ge=100)
    """Tokens of a prompt at most; older history goes first."""


class Lifelong:
    """Retrieval-augmented generation over lifelong user history (Huang et al., "A survey of foundation model-powered recommender systems",
    2025, §9.2.3): what is pertinent to the question is pulled out of a long history into a limited window, next to what is known of the
    candidates; nothing but a candidate can be answered.

    One list-wise prompt a case. Give the model a large `max_history`, or there is nothing to retrieve from. A mechanism that the survey
    describes, not one published system; the embedding search is ReLLa's with all candidates as targets.
    """

    Config: ClassVar[type[LifelongConfig]] = LifelongConfig
    wants: ClassVar[tuple[Want, ...]] = ()

    def __init__(self, config: LifelongConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config
        inner = ListWiseConfig(template=config.template, max_tokens=config.max_tokens)
        self._inner = ListWise(inner, ground=ground, templates=templates)
        self._events: EventRetriever | None = None

    def look_at(self, shelf: Shelf) -> None:
        """Take the shelf's encoder."""
        self._events = EventRetriever(shelf.encode)

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """The list-wise order over shorter histories."""
        if self._events is None:
            raise UserError("the ranker `lifelong` looks for pertinent events and has no encoder; call look_at(shelf) first")
        self._events.learn_words([text for case in cases for text in (*case.history, *case.candidates)])
        shorter, left_out = [], 0
        for case in cases:
            places = self._events.find(case.history, case.candidates, self.config.events, latest=self.config.latest)
            left_out += len(case.history) - len(places)
            shorter.append(replace(case, history=[case.history[place] for place in places]))
        ranked = self._inner.rank(shorter, asker)
        return Ranked(ranked.orders, {**ranked.figures, "events left out": left_out / max(1, len(cases))}, ranked.notes)
