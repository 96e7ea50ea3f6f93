"""DRDT: an analysis of taste from several sides, corrected by guessing what is known already (Wang et al., 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from pydantic import Field

from recsmith.config import Config
from recsmith.language.asker import Asker
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, Reading, completed, ground_equal, kept_where, unanswered
from recsmith.language.rankers.steps import ask_step
from recsmith.language.template import load_template

Similar = Callable[[Sequence[Sequence[str]]], Sequence[Sequence[str]]]
"""Histories → per history a few lines about what people with similar choices took."""


class DrdtConfig(Config):
    """How often the model is corrected."""

    reflections: int = Field(2, ge=0)
    """Most recent events that are hidden one after the other, guessed and told."""
    guesses: int = Field(5, ge=1)
    """Titles that the model guesses each time."""
    max_tokens: int = Field(3000, ge=100)
    """Tokens of a prompt at most; older history goes first."""


class Drdt:
    """DRDT: dynamic reflection with divergent thinking for LLM-based sequential recommendation (Wang, Liu, Zhang et al., 2023,
    arXiv:2312.11336).

    Divergent thinking: the first analysis looks from several sides. Dynamic reflection: for each of the last `reflections` events the model
    guesses it from what came before, is told the truth, and corrects the analysis. The last analysis ranks. Collaborative
    demonstrations come from `similar`, handed in.

    Deviations: wording of our own; guesses are titles of the model's own choice.
    """

    Config: ClassVar[type[DrdtConfig]] = DrdtConfig

    def __init__(
        self, config: DrdtConfig, *, ground: GroundIn = ground_equal, similar: Similar | None = None, templates: str | None = None
    ) -> None:
        self.config = config
        self._ground, self._similar = ground, similar
        names = {"analyse": "analyse", "guess": "next-item", "reflect": "reflect", "rank": "rank-from-analysis"}
        self._templates = {step: load_template(name, folder=templates) for step, name in names.items()}

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """Two prompts per case, and two more per reflection."""
        hidden = [min(self.config.reflections, max(0, len(case.history) - 1)) for case in cases]
        seen = [list(case.history[: len(case.history) - count]) for case, count in zip(cases, hidden, strict=True)]
        similar = self._similar(seen) if self._similar is not None else [None] * len(cases)
        failed: set[int] = set()
        first = [{"history": history, "similar": None if other is None else list(other)} for history, other in zip(seen, similar)]
        analyses = self._ask("analyse", first, asker, range(len(cases)), failed)
        for step in range(self.config.reflections):
            open_ = [number for number, count in enumerate(hidden) if step < count]
            self._reflect(open_, step, cases, hidden, analyses, asker, failed)
        values = [
            {"history": list(case.history), "analysis": analysis, "candidates": list(case.candidates)}
            for case, analysis in zip(cases, analyses, strict=True)
        ]
        reading, answers = Reading(self._ground), self._ask("rank", values, asker, range(len(cases)), failed)
        orders = [
            completed(reading.order(answer, case.candidates), len(case.candidates)) for case, answer in zip(cases, answers, strict=True)
        ]
        return kept_where(failed, orders, reading.figures(), analyses)

    def _reflect(
        self,
        numbers: list[int],
        step: int,
        cases: Sequence[RankCase],
        hidden: list[int],
        analyses: list[str],
        asker: Asker,
        failed: set[int],
    ) -> None:
        """Guess one event of each case, tell the truth, and replace the analyses."""
        before = [list(cases[number].history[: len(cases[number].history) - hidden[number] + step]) for number in numbers]
        asked = [
            {"history": history, "count": self.config.guesses, "request": analyses[number]} for history, number in zip(before, numbers)
        ]
        guesses = self._ask("guess", asked, asker, numbers, failed)
        told = [
            {"history": history, "analysis": analyses[number], "guess": [guess], "truth": cases[number].history[len(history)]}
            for history, number, guess in zip(before, numbers, guesses, strict=True)
        ]
        for number, analysis in zip(numbers, self._ask("reflect", told, asker, numbers, failed), strict=True):
            analyses[number] = analysis

    def _ask(self, step: str, values: list[dict[str, Any]], asker: Asker, numbers: Sequence[int], failed: set[int]) -> list[str]:
        """Answers about the cases `numbers`; those without one are added to `failed`."""
        answers = ask_step(self._templates[step], values, asker, max_tokens=self.config.max_tokens)
        failed.update(numbers[place] for place in unanswered(answers))
        return [answer or "nothing is known" for answer in answers]
