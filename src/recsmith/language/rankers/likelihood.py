"""Ranking by the likelihood of titles: which candidate would the sentence go on with? (Sileo et al., 2022)"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from recsmith.config import Config
from recsmith.errors import UserError
from recsmith.language.asker import Asker
from recsmith.language.likelihood_questions import LikelihoodQuestion
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, by_score, ground_equal, kept_where, unanswered
from recsmith.language.untrusted import as_data, plain_line


class LikelihoodConfig(Config):
    """The sentence and how its likelihood becomes a score."""

    sentence: str = "Movies like {history}, "
    """What stands before a candidate; `{history}` is the list of titles, those that hold commas in double quotes."""
    empty: str = "Movies like "
    """What stands before a candidate when nothing is known of the person; for `normalise = "prior"`."""
    normalise: Literal["none", "length", "prior"] = "none"
    """none: log p(title | sentence); length: per character of the title; prior: less log p(title | the empty sentence)."""
    max_history: int = Field(5, ge=1)
    """Titles in the sentence, the most recent ones."""


class Likelihood:
    """Zero-shot recommendation as language modelling (Sileo, Vossen & Raymaekers, ECIR 2022): nothing is generated, so nothing can be
    invented, but the backend must know likelihoods (a local model does).

    Deviations: scores of the candidate alone, not of the whole sentence (which differs by what all candidates share); titles of the history
    that hold commas are quoted, so that one title cannot pose as two; `prior` and `length` are ours.
    """

    Config: ClassVar[type[LikelihoodConfig]] = LikelihoodConfig

    def __init__(self, config: LikelihoodConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """Raises `UserError` when the backend does not know likelihoods."""
        if not asker.knows_likelihoods:
            raise UserError(
                f"ranking by likelihood needs a backend that knows likelihoods; {asker.backend.name} does not: use a local model"
            )
        questions = [LikelihoodQuestion(self._context(case), _texts(case)) for case in cases]
        correct = self.config.normalise == "prior"
        priors = [LikelihoodQuestion(self.config.empty, question.continuations) for question in questions] if correct else []
        open_ = [question for question in (*questions, *priors) if question.continuations]
        answers = dict(zip(open_, asker.log_likelihoods(open_), strict=True))
        known, before = ([answers.get(question, []) for question in asked] for asked in (questions, priors or questions))
        failed = unanswered(known) | unanswered(before)
        orders = [
            list(range(len(question.continuations))) if likely is None or prior is None else by_score(self._scores(question, likely, prior))
            for question, likely, prior in zip(questions, known, before, strict=True)
        ]
        judged = sum(len(likely) for likely in known if likely is not None)
        return kept_where(failed, orders, {"judged texts": judged, "format error": 0.0})

    def _context(self, case: RankCase) -> str:
        history = ", ".join(_listed(title) for title in case.history[-self.config.max_history :])
        return self.config.sentence.format(history=history) if history else self.config.empty

    def _scores(self, question: LikelihoodQuestion, known: list[float], before: list[float]) -> list[float]:
        """Scores of the candidates: their likelihoods, made comparable as the config says."""
        if self.config.normalise == "length":
            return [score / max(1, len(text)) for score, text in zip(known, question.continuations, strict=True)]
        if self.config.normalise == "prior":
            return [score - other for score, other in zip(known, before, strict=True)]
        return known


def _texts(case: RankCase) -> tuple[str, ...]:
    return tuple(plain_line(candidate) for candidate in case.candidates)


def _listed(title: str) -> str:
    """A title as an entry of the sentence's list: in double quotes where it holds a comma, since commas set entries apart."""
    line = plain_line(title)
    return as_data(title) if "," in unicodedata.normalize("NFKC", line) else line
