"""Point-wise ranking: one prompt per candidate, a number or a likelihood as its score (Dai et al., 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from recsmith.config import Config
from recsmith.language.asker import Asker
from recsmith.language.compiler import compile_prompt
from recsmith.language.completion import Prompt
from recsmith.language.parsing import FormatError, parse_number
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, by_score, ground_equal, in_rows, kept_where, none_answered
from recsmith.language.template import load_template


class PointWiseConfig(Config):
    """How the question is put."""

    template: str = "rank-point"
    """Prompt template with the fields history, candidate, low, high."""
    low: float = 1.0
    """Worst score."""
    high: float = 5.0
    """Best score."""
    calibrate: bool = False
    """Whether a candidate's score without any history is taken off: what everybody likes anyway says nothing of this person."""
    max_tokens: int = Field(2000, ge=100)
    """Tokens of a prompt at most; older history goes first."""


class PointWise:
    """The point-wise prompts of Dai, Shao, Zhao et al., "Uncovering ChatGPT's capabilities in recommender systems", RecSys 2023.

    A candidate whose answer is no number in range, or missing, gets the mean of the case's other scores. Equal scores keep the retriever's
    order, which matters: models give few different numbers (the figure `ties` is the share of candidates that share their score).

    Deviations: wording of our own; `calibrate` is ours, after contextual calibration (Zhao et al., ICML 2021).
    """

    Config: ClassVar[type[PointWiseConfig]] = PointWiseConfig

    def __init__(self, config: PointWiseConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config
        self._template = load_template(config.template, folder=templates)

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """One prompt per candidate, and one more per distinct candidate when calibrated."""
        asked = [(case.history, candidate, case.request) for case in cases for candidate in case.candidates]
        answers = in_rows(self._answers(asked, asker), cases)
        scores = [[self._number(answer) for answer in row] for row in answers]
        unread = sum(score is None for row in scores for score in row)
        prior = self._prior(cases, asker) if self.config.calibrate else {}
        corrected = [
            [score - prior.get(text, 0.0) for score, text in zip(filled(row), case.candidates)] for row, case in zip(scores, cases)
        ]
        shared = sum(row.count(score) > 1 for row in corrected for score in row)
        total = max(1, len(asked))
        figures = {"answers read": len(asked), "format error": unread / total, "ties": shared / total, "template": self._template.hash}
        return kept_where(none_answered(answers), [by_score(row) for row in corrected], figures)

    def _prior(self, cases: Sequence[RankCase], asker: Asker) -> dict[str, float]:
        """Score of each distinct candidate for somebody of whom nothing is known."""
        texts = list(dict.fromkeys(candidate for case in cases for candidate in case.candidates))
        answers = self._answers([(["nothing is known"], text, "") for text in texts], asker)
        return dict(zip(texts, filled([self._number(answer) for answer in answers]), strict=True))

    def _answers(self, asked: Sequence[tuple[Sequence[str], str, str]], asker: Asker) -> list[str | None]:
        return asker.ask([self._prompt(*entry, asker) for entry in asked])

    def _number(self, answer: str | None) -> float | None:
        return number_in(answer, low=self.config.low, high=self.config.high)

    def _prompt(self, history: Sequence[str], candidate: str, request: str, asker: Asker) -> Prompt:
        values = {
            "history": list(history),
            "candidate": candidate,
            "request": request or None,
            "low": self.config.low,
            "high": self.config.high,
        }
        known = {name: value for name, value in values.items() if name in self._template.fields}
        return compile_prompt(self._template, known, max_tokens=self.config.max_tokens, count=asker.count_tokens).prompt


def number_in(answer: str | None, *, low: float, high: float) -> float | None:
    """The number of an answer; None where there is no answer, or no such number in it."""
    try:
        return None if answer is None else parse_number(answer, low=low, high=high)
    except FormatError:
        return None


def filled(scores: Sequence[float | None]) -> list[float]:
    """The scores with the mean of the known ones (0 without any) in place of those that are missing."""
    known = [score for score in scores if score is not None]
    mean = sum(known) / len(known) if known else 0.0
    return [mean if score is None else score for score in scores]
