"""LLM-TRSR: long histories in words are summed up block by block before a tuned model judges (Zheng et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from recsmith.language.compiler import Value
from recsmith.language.completion import Backend
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import CandidateConfig, CandidateModel
from recsmith.tuning_language.portraits import answers
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.teacher import TeacherConfig
from recsmith.tuning_language.yes_no_questions import ANSWERS, yes_or_no

Items = tuple[int, ...]


class LlmTrsrConfig(CandidateConfig):
    """Settings of `LlmTrsr`."""

    tasks: str = "llm-trsr"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    summary: Literal["recurrent", "hierarchical"] = "recurrent"
    """recurrent: the summary so far and the next block give the next summary; hierarchical: each block is summed up, then the summaries."""
    block: int = Field(5, ge=1)
    """Events of a block; what does not fill one is told as it is."""
    blocks: int = Field(6, ge=1)
    """Blocks that are summed up, counted from the last."""
    teacher: TeacherConfig = TeacherConfig()
    """The language model that sums up."""
    max_summary: int = Field(48, ge=4)
    """Tokens of a summary, at most."""


class LlmTrsr(CandidateModel):
    """A model says yes or no to candidates, told a summary of all full blocks of a history and what came after them.

    Paper: "Harnessing large language models for text-rich sequential recommendation" (WWW 2024), with both of its ways to sum up; tuned by
    low-rank updates on yes and no as there. The last full block is told as it is too. `summaries` gives the summaries.

    Deviations: blocks are counted in events, from the history's beginning, so that a summary is asked for once and kept; candidates by a
    retriever that learns in closed form; without a language model the most frequent words of titles and summary stand for the summary.
    """

    Config: ClassVar[type[LlmTrsrConfig]] = LlmTrsrConfig

    def __init__(self, config: LlmTrsrConfig, *, items: int, backend: Backend | None = None) -> None:
        """`backend` takes the place of the one that the config names."""
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        self._asker = config.teacher.asker(backend)
        self._known: dict[tuple[str, Items], str] = {}

    def read(self, texts: Sequence[str]) -> None:
        """The items' own words, one text per item; stored with the weights."""
        super().read(texts)
        self._known = {}

    def extra_words(self) -> list[str]:
        """The two answers."""
        return [f" {answer}" for answer in ANSWERS] * 10

    def summaries(self, histories: Sequence[Sequence[int]]) -> list[str]:
        """The summary of the full blocks of each history, "" where there is none."""
        parts = [self._blocks(history) for history in histories]
        if self.config.summary == "hierarchical":
            summed = iter(self._summed([("", block) for blocks in parts for block in blocks]))
            told = [[next(summed) for _ in blocks] for blocks in parts]
            joined = iter(self._ask([("", texts) for texts in told if len(texts) > 1]))
            return [next(joined) if len(texts) > 1 else "".join(texts) for texts in told]
        found = [""] * len(parts)
        for number in range(max(map(len, parts), default=0)):
            rows = [row for row, blocks in enumerate(parts) if number < len(blocks)]
            for row, text in zip(rows, self._summed([(found[row], parts[row][number]) for row in rows]), strict=True):
                found[row] = text
        return found

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Probability of yes for each candidate."""
        rows = [history.items.tolist() for history in histories]
        told = zip(rows, self.summaries(rows), candidates, strict=True)
        cases = [self._case(row, summary, item) for row, summary, chosen in told for item in chosen]
        return list(self.chances(cases, ANSWERS)[:, 0].split([len(chosen) for chosen in candidates]))

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Yes or no about random events that something precedes, no where another item took the event's place."""
        count = max(1, round(self.config.examples * len(batch)))
        asked = list(yes_or_no(batch, count, random, others=lambda _, tries: random.integers(0, self.items, tries).tolist()))
        rows = [batch.items[int(batch.offsets[row]) : event].tolist() for row, event, _, _ in asked]
        for (_, _, item, answer), history, summary in zip(asked, rows, self.summaries(rows), strict=True):
            yield self._case(history, summary, item, answer=answer)

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and who summed up at what cost."""
        return {**super().figures(), "summaries": len(self._known), "written by": self._asker.figures()}

    def _case(self, history: Sequence[int], summary: str, item: int, *, answer: str = "") -> Case:
        full = len(history) // self.config.block * self.config.block
        recent = history[max(0, full - self.config.block) :]
        words = {"summary": " ".join(self.network.text(self.network.tokens(summary, longest=self.config.max_summary)).split())}
        return Case(item=item, history=recent[-self.config.told_history :], words={**words, "answer": answer})

    def _blocks(self, history: Sequence[int]) -> list[Items]:
        size = self.config.block
        full = [tuple(history[start : start + size]) for start in range(0, len(history) - size + 1, size)]
        return full[-self.config.blocks :]

    def _summed(self, cases: Sequence[tuple[str, Items]]) -> list[str]:
        """The summary so far and the block after it → the summary of both; nothing is asked twice."""
        new = [case for case in dict.fromkeys(cases) if case not in self._known]
        texts = self.table.texts
        written = self._ask([(summary, [texts[item] for item in block]) for summary, block in new])
        self._known |= dict(zip(new, written, strict=True))
        return [self._known[case] for case in cases]

    def _ask(self, cases: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
        values: list[dict[str, Value]] = [{"summary": summary or None, "block": texts} for summary, texts in cases]
        return answers(self._asker, "summarise-block", values) if values else []
