"""TALLRec: a language model tuned to say yes or no to one item, given what pleased before (Bao et al., RecSys 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from recsmith.errors import DataError
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import CandidateConfig, CandidateModel, followed_events
from recsmith.tuning_language.tasks import Case

_ANSWERS = ("Yes", "No")


class TallrecConfig(CandidateConfig):
    """Settings of `Tallrec`."""

    tasks: str = "tallrec"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    label: Literal["taken", "liked"] = "taken"
    """What is asked about: taken (an event, or an item at random) or liked (an event rated `liked_from` or more, or less)."""
    liked_from: float = 4.0
    """liked: least rating that pleased; also where the history parts into what pleased and what did not, if there are ratings."""


class Tallrec(CandidateModel):
    """The probability of "Yes" orders the candidates of a retriever; `likes` gives it for any person and item.

    Paper: "TALLRec: an effective and efficient tuning framework to align large language model with recommendation" (RecSys 2023). The
    paper's first stage, general instructions, is the folder's business; an own model reads item texts and histories instead.

    Deviations: label "taken" for logs without ratings; candidates by a retriever, where the paper measures AUC alone.
    """

    Config: ClassVar[type[TallrecConfig]] = TallrecConfig

    def __init__(self, config: TallrecConfig, *, items: int) -> None:
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))

    def extra_words(self) -> list[str]:
        """The two answers."""
        return [f" {answer}" for answer in _ANSWERS] * 10

    def likes(self, batch: HistoryBatch, items: Sequence[int]) -> Tensor:
        """Probability that each row's person says yes to the item, float32 `[row]`."""
        batch = batch.known()
        cases = [self._case(batch, row, int(batch.offsets[row + 1]), int(item)) for row, item in enumerate(items)]
        return self._probabilities(cases)

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Probability of yes for each candidate."""
        cases = [self._case(row, 0, len(row.items), item) for row, chosen in zip(histories, candidates, strict=True) for item in chosen]
        return list(self._probabilities(cases).split([len(chosen) for chosen in candidates]))

    def _probabilities(self, cases: Sequence[Case]) -> Tensor:
        choices = [self.network.tokens(answer) for answer in _ANSWERS]
        questions = [self.wording.tokens(self.template.input, case) for case in cases]
        with torch.no_grad():
            parts = [self.network.choose(questions[start : start + 256], choices)[:, 0] for start in range(0, len(questions), 256)]
        return torch.cat(parts) if parts else torch.zeros(0)

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Yes or no about random events that something precedes. Raises `DataError` for the label "liked" without ratings."""
        if self.config.label == "liked" and batch.weights is None:
            raise DataError("label `liked` needs ratings and the log has none; name their column, or use label = taken")
        for row, event in followed_events(batch, max(1, round(self.config.examples * len(batch))), random):
            item = int(batch.items[event])
            if self.config.label == "liked":
                assert batch.weights is not None
                yes = float(batch.weights[event]) >= self.config.liked_from
            else:
                yes = bool(random.random() < 0.5)
                item = item if yes else self._untaken(batch, row, random)
            yield self._case(batch, row, event, item, answer=_ANSWERS[0 if yes else 1])

    def _untaken(self, batch: HistoryBatch, row: int, random: np.random.Generator) -> int:
        taken = set(batch.items[batch.offsets[row] : batch.offsets[row + 1]].tolist())
        free = [item for item in random.integers(0, self.items, 20).tolist() if item not in taken]
        return free[0] if free else int(random.integers(0, self.items))

    def _case(self, batch: HistoryBatch, row: int, stop: int, item: int, *, answer: str = "") -> Case:
        """The last items before `stop`, apart by rating where there are ratings (and they are asked about), and the item."""
        start = max(int(batch.offsets[row]), stop - self.config.told_history)
        items = batch.items[start:stop].tolist()
        good = [True] * len(items)
        if batch.weights is not None and self.config.label == "liked":
            good = (batch.weights[start:stop] >= self.config.liked_from).tolist()
        liked = [one for one, pleased in zip(items, good) if pleased]
        disliked = [one for one, pleased in zip(items, good) if not pleased]
        return Case(-1, item, liked, disliked, words={"answer": answer})
