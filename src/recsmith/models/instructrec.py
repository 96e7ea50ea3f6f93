"""InstructRec: one language model tuned on instructions of many kinds, written by templates and language models (Zhang et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from recsmith.language.completion import Backend
from recsmith.language.untrusted import plain_line
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import item_outside
from recsmith.tuning_language.portrayed import Lesson, PortrayedConfig, PortrayedModel
from recsmith.tuning_language.tasks import Case, TaskTemplate
from recsmith.tuning_language.wording import LETTERS

_YES_NO = ("Yes", "No")


class InstructrecConfig(PortrayedConfig):
    """Settings of `Instructrec`."""

    tasks: str = "instructrec"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    candidates: int = Field(20, ge=2, le=len(LETTERS))
    """Items that are judged; those behind keep the retriever's order."""
    answers_by: str = "rank-by-history"
    """Template that answers; its target is the letter of a candidate."""
    answers_wishes_by: str = "rank-by-history-and-wish"
    """Template that answers people who say what they want."""


class Instructrec(PortrayedModel):
    """Candidates in the order of their letters' likelihood, for people who say nothing (`score`) or what they want (`score_told`).

    Paper: "Recommendation as instruction following: a large language model empowered recommendation approach" (2023). An instruction has a
    preference (history; words; none), an intention (none; words), and a form: point-wise, pair-wise, matching or re-ranking; two templates
    turn the task round (what does this person like, what had they asked for). Every example draws a template by lot.

    Deviations: fourteen templates of ours for the paper's thirty-nine; words of tastes and wishes are distinctive words of the titles
    unless `portraits.backend` names a language model that writes them, and a wish is then read from what was taken, not from reviews; lists
    re-rank the candidates of a retriever, which does not hear the wish.
    """

    Config: ClassVar[type[InstructrecConfig]] = InstructrecConfig

    def __init__(self, config: InstructrecConfig, *, items: int, backend: Backend | None = None) -> None:
        retriever = closed_form_retriever(config.retriever, config.retriever_settings, items=items)
        super().__init__(config, items=items, retriever=retriever, backend=backend)
        for name in (config.answers_by, config.answers_wishes_by):
            self.task_set.named(name)

    @property
    def reads_words(self) -> bool:
        """Somebody's own words change the answer."""
        return True

    def extra_words(self) -> list[str]:
        """The letters and the two answers, besides."""
        letters = [f" {letter}" for letter in LETTERS] * 10 + [f" ({letter})" for letter in LETTERS] * 10
        return [*super().extra_words(), *letters, *([f" {answer}" for answer in _YES_NO] * 10)]

    def score_told(self, batch: HistoryBatch, words: Sequence[str]) -> Tensor:
        """As `score`, when each person also says what they want, one text per row ("" for nothing)."""
        said = [plain_line(text) for text in words]
        return self.ordered(batch, lambda rows, histories, chosen: self._judge(histories, chosen, [said[row] for row in rows]))

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Likelihood of each candidate's letter."""
        return self._judge(histories, candidates, [""] * len(histories))

    def _judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]], words: Sequence[str]) -> list[Tensor]:
        tastes = self.tastes_of(histories)
        cases = [
            Case(
                history=self.told(history),
                candidates=chosen,
                words={"taste": taste, "wish": wish},
                template=self.config.answers_wishes_by if wish else self.config.answers_by,
            )
            for history, chosen, taste, wish in zip(histories, candidates, tastes, words, strict=True)
        ]
        scores = self.chances(cases, LETTERS[: max(map(len, candidates))])
        return [row[: len(chosen)] for row, chosen in zip(scores, candidates, strict=True)]

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Instructions by templates drawn by lot, of those whose words there are."""
        for lesson in self.lessons(batch, random):
            empty = {name for name, text in lesson[2].items() if not text}
            fitting = [one for one in self.task_set.template if not one.fields & empty]
            yield self._instruction(fitting[int(random.integers(len(fitting)))], lesson, random)

    def _instruction(self, template: TaskTemplate, lesson: Lesson, random: np.random.Generator) -> Case:
        before, following, words = lesson
        item, history = following[0], self.told(before)
        if template.family == "preference":
            yes = bool(random.random() < 0.5)
            asked = item if yes else item_outside([*before.items.tolist(), *following], self.items, random)
            return Case(item=asked, history=history, words={**words, "answer": _YES_NO[0 if yes else 1]}, template=template.name)
        if template.family != "choice":
            return Case(item=item, history=history, words=words, template=template.name)
        chosen = self.presented(before, [item], random)
        if template.candidates is not None:
            chosen = random.permutation([item, *[one for one in chosen if one != item][: template.candidates - 1]]).tolist()
        words = {**words, "answer": LETTERS[chosen.index(item)]}
        return Case(item=item, history=history, candidates=chosen, words=words, template=template.name)
