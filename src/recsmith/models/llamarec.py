"""LlamaRec: a retriever proposes, and a tuned language model chooses among lettered candidates in one reading (Yue et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import CandidateConfig, CandidateModel, followed_events, row_of
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.wording import LETTERS


class LlamarecConfig(CandidateConfig):
    """Settings of `Llamarec`."""

    tasks: str = "llamarec"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    candidates: int = Field(20, ge=2, le=len(LETTERS))
    """Items that are judged; those behind keep the retriever's order."""


class Llamarec(CandidateModel):
    """Ranks by the logits of the candidates' letters after one prompt, so that nothing is generated (the paper's verbaliser).

    Paper: "LlamaRec: two-stage recommendation using large language models for ranking" (PGAI workshop at CIKM 2023).

    Deviations: a retriever that learns in closed form instead of LRURec; in training the target takes a random place among the candidates
    where the retriever did not propose it, and candidates are shuffled, so that letters mean nothing.
    """

    Config: ClassVar[type[LlamarecConfig]] = LlamarecConfig

    def __init__(self, config: LlamarecConfig, *, items: int) -> None:
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))

    def extra_words(self) -> list[str]:
        """The letters."""
        return [f" {letter}" for letter in LETTERS] * 10 + [f" ({letter})" for letter in LETTERS] * 10

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Log-probability of each candidate's letter."""
        cases = [self._case(row.items.tolist(), chosen, "") for row, chosen in zip(histories, candidates, strict=True)]
        scores = self.chances(cases, LETTERS[: max(map(len, candidates))])
        return [row[: len(chosen)] for row, chosen in zip(scores, candidates, strict=True)]

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Which of the retriever's candidates came next, for random events that something precedes."""
        for row, event in followed_events(batch, max(1, round(self.config.examples * len(batch))), random):
            before, target = row_of(batch, row, before=event), int(batch.items[event])
            chosen = self.proposed(before)
            if not chosen:
                continue
            if target not in chosen:
                chosen[int(random.integers(len(chosen)))] = target
            chosen = random.permutation(chosen).tolist()
            yield self._case(before.items.tolist(), chosen, LETTERS[chosen.index(target)])

    def _case(self, history: Sequence[int], candidates: Sequence[int], answer: str) -> Case:
        return Case(history=history[-self.config.told_history :], candidates=candidates, words={"answer": answer})
