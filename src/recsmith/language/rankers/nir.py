"""NIR: three questions, from preferences over telling choices to an order (Wang and Lim, 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from recsmith.config import Config
from recsmith.language.asker import Asker
from recsmith.language.compiler import Value
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, Reading, completed, ground_equal, kept_where, unanswered
from recsmith.language.rankers.steps import ask_step, told
from recsmith.language.template import load_template


class NirConfig(Config):
    """Sizes of the three questions."""

    representatives: int = Field(5, ge=1)
    """Choices that show the preferences best."""
    recommended: int = Field(10, ge=1)
    """Candidates that the last question asks for; the others keep the retriever's order behind them."""
    max_tokens: int = Field(3000, ge=100)
    """Tokens of a prompt at most; older history goes first."""


class Nir:
    """Zero-shot next-item recommendation using large pretrained language models (Wang & Lim, 2023, arXiv:2304.03153).

    The candidate filter of the paper is the retriever before the ranker. An answer of the second step that cannot be read is replaced
    by the most recent choices (counted as `second step unread`).

    Deviations: wording of our own; choices and candidates are referred to by number.
    """

    Config: ClassVar[type[NirConfig]] = NirConfig

    def __init__(self, config: NirConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config
        self._ground = ground
        self._steps = [load_template(name, folder=templates) for name in ("nir-preferences", "nir-representatives", "nir-recommend")]

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """Three prompts per case."""
        said = self._ask(0, [{"history": list(case.history)} for case in cases], asker)
        preferences = told(said)
        wanted = self.config.representatives
        second: list[dict[str, Value]] = [
            {"history": list(case.history), "preferences": text, "count": min(wanted, len(case.history))}
            for case, text in zip(cases, preferences, strict=True)
        ]
        choosing, telling = Reading(self._ground), []
        chosen = self._ask(1, second, asker)
        for case, answer in zip(cases, chosen, strict=True):
            named = [case.history[place] for place in choosing.order(answer, case.history)][:wanted]
            telling.append(named or list(case.history)[-wanted:])
        third: list[dict[str, Value]] = [
            {"preferences": text, "representatives": named, "candidates": list(case.candidates), "count": self.config.recommended}
            for case, text, named in zip(cases, preferences, telling, strict=True)
        ]
        reading = Reading(self._ground)
        answers = self._ask(2, third, asker)
        orders = [
            completed(reading.order(answer, case.candidates), len(case.candidates)) for case, answer in zip(cases, answers, strict=True)
        ]
        unread = choosing.figures()["format error"]
        failed = unanswered(said) | unanswered(chosen) | unanswered(answers)
        return kept_where(failed, orders, {**reading.figures(), "second step unread": unread}, preferences)

    def _ask(self, step: int, values: list[dict[str, Value]], asker: Asker) -> list[str | None]:
        return ask_step(self._steps[step], values, asker, max_tokens=self.config.max_tokens)
