"""ReLLa without tuning: each candidate is judged by the events that resemble it, not by the latest ones (Lin et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any, ClassVar, Literal

from pydantic import Field

from recsmith.config import Config
from recsmith.errors import UserError
from recsmith.language.asker import Asker
from recsmith.language.compiler import compile_prompt
from recsmith.language.completion import Prompt
from recsmith.language.history_retrieval import EventRetriever
from recsmith.language.likelihood_questions import LikelihoodQuestion
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, Want, by_score, ground_equal, in_rows, kept_where, none_answered
from recsmith.language.rankers.point_wise import filled, number_in
from recsmith.language.shelf import Shelf
from recsmith.language.template import load_template

_ANSWERS = (" Yes", " No")


class RellaConfig(Config):
    """What is retrieved and what is answered."""

    events: int = Field(10, ge=1)
    """Events of the history that each prompt tells: those most similar to its candidate, in order of time."""
    answer: Literal["number", "probability"] = "number"
    """number: the model says how much from 1 to 5; probability: that of "Yes", for backends that know likelihoods."""
    max_tokens: int = Field(2000, ge=100)
    """Tokens of a prompt at most."""


class Rella:
    """Semantic user behaviour retrieval for zero-shot prompts: "ReLLa" (Lin, Shan, Zhu et al., WWW 2024, arXiv:2308.11131).

    The whole history that a case holds is searched, so give the model a large `max_history`. The figure `events not the latest` is the
    share of told events that a prompt of the latest ones would not have told.

    Deviations: vectors of an encoder of texts; without likelihoods numbers stand for the paper's probability of "Yes". The tuned form is
    the model `rella`.
    """

    Config: ClassVar[type[RellaConfig]] = RellaConfig
    wants: ClassVar[tuple[Want, ...]] = ()

    def __init__(self, config: RellaConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config
        self._template = load_template("rank-point" if config.answer == "number" else "rella-yes", folder=templates)
        self._events: EventRetriever | None = None

    def look_at(self, shelf: Shelf) -> None:
        """Take the shelf's encoder."""
        self._events = EventRetriever(shelf.encode)

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """One prompt per candidate; one that failed gives its candidate the mean score."""
        answers: Sequence[str | float | None]
        prompts, fresh, told = [], 0, 0
        for case in cases:
            for candidate in case.candidates:
                places = self._places(case, candidate)
                told, fresh = told + len(places), fresh + sum(place < len(case.history) - self.config.events for place in places)
                prompts.append(self._prompt([case.history[place] for place in places], candidate, asker))
        answers = asker.ask(prompts) if self.config.answer == "number" else self._probabilities(prompts, asker)
        rows = in_rows(answers, cases)
        scores = [[_number(answer) for answer in row] for row in rows]
        unread = sum(score is None for row in scores for score in row) / max(1, len(answers))
        figures = {"answers read": len(answers), "format error": unread, "events not the latest": fresh / max(1, told)}
        return kept_where(none_answered(rows), [by_score(filled(row)) for row in scores], figures)

    def _places(self, case: RankCase, candidate: str) -> list[int]:
        if self._events is None:
            raise UserError("the ranker `rella` looks for similar events and has no encoder; call look_at(shelf) first")
        return self._events.find(case.history, [candidate], self.config.events)

    def _prompt(self, history: list[str], candidate: str, asker: Asker) -> Prompt:
        values: dict[str, Any] = {"history": history, "candidate": candidate}
        values |= {"low": 1.0, "high": 5.0} if self.config.answer == "number" else {}
        return compile_prompt(self._template, values, max_tokens=self.config.max_tokens, count=asker.count_tokens).prompt

    def _probabilities(self, prompts: Sequence[Prompt], asker: Asker) -> list[float | None]:
        if not asker.knows_likelihoods:
            raise UserError(
                f"`answer = probability` needs a backend that knows likelihoods; {asker.backend.name} does not: use a local model, or "
                "answer = number"
            )
        found = asker.log_likelihoods([LikelihoodQuestion(prompt.text, _ANSWERS) for prompt in prompts])
        return [None if pair is None else _yes(*pair) for pair in found]


def _number(answer: str | float | None) -> float | None:
    return number_in(answer, low=1.0, high=5.0) if isinstance(answer, str) else answer


def _yes(yes: float, no: float) -> float:
    """The share of "Yes" in both answers."""
    return 1 / (1 + exp(min(50.0, no - yes)))
