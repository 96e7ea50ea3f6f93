"""`YesNoModel`: would this person take to that item, yes or no; what TALLRec, CoLLM, BinLLM and RecLoRA share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.protocols import HistoryBatch
from recsmith.training import to_batch
from recsmith.tuning_language.candidates import CandidateConfig, CandidateModel, followed_events, item_outside, row_of
from recsmith.tuning_language.shared_prompts import Prompt, Vectors, can_share, choice_logits
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.yes_no_questions import ANSWERS

_AT_ONCE = 16
"""Histories that are read at once in answering, each with all its candidates."""

Group = tuple[HistoryBatch, list[Case]]
"""A history as a batch of one row, and the questions that are asked after it."""


class YesNoConfig(CandidateConfig):
    """What models of yes and no have in common."""

    label: Literal["taken", "liked"] = "taken"
    """What is asked about: taken (an event, or an item at random) or liked (an event rated `liked_from` or more, or less)."""
    liked_from: float = 4.0
    """liked: least rating that pleased; also where the history parts into what pleased and what did not, if there are ratings."""
    questions: int = Field(8, ge=1)
    """Items asked about after one history in training: events from some place on and, where that is the label, as many at random."""
    question_steps: int = Field(0, ge=0)
    """Own model: optimiser steps of all its weights on such questions before it is tuned; what a large model can do, it learns here."""


class YesNoModel(CandidateModel):
    """The probability of "Yes" orders the candidates of a retriever; `likes` gives it for any person and item.

    A decoder-only model reads a history once for all questions about it, and learns the odds of the two answers; another one reads each
    question by itself, and learns the answer as a word.
    """

    def __init__(self, config: Any, **parts: Any) -> None:
        super().__init__(config, **parts)
        self.shares = can_share(config.network, config.tuner)

    def extra_words(self) -> list[str]:
        """The two answers."""
        return [f" {answer}" for answer in ANSWERS] * 10

    def vectors(self, histories: Sequence[HistoryBatch]) -> Vectors | None:
        """What is read at the slots of questions after these histories; None: they have no slots."""
        return None

    def likes(self, batch: HistoryBatch, items: Sequence[int]) -> Tensor:
        """Probability that each row's person says yes to the item, float32 `[row]`."""
        batch = batch.known()
        rows = [row_of(batch, row) for row in range(len(batch))]
        found = self.judge(rows, [[int(item)] for item in items])
        return torch.cat(found) if found else torch.zeros(0, device=self.network.device)

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Probability of yes for each candidate."""
        groups = [(row, [self.case(row, item) for item in chosen]) for row, chosen in zip(histories, candidates, strict=True)]
        if not self.shares or not self._reads_on:
            found = self.chances([case for _, cases in groups for case in cases], ANSWERS)[:, 0]
        else:
            with torch.no_grad():
                parts = [self.odds(groups[start : start + _AT_ONCE]) for start in range(0, len(groups), _AT_ONCE)]
            found = torch.cat(parts).sigmoid() if parts else torch.zeros(0, device=self.network.device)
        return list(found.split([len(chosen) for chosen in candidates]))

    def odds(self, groups: Sequence[Group]) -> Tensor:
        """Log odds of yes against no for all questions of the groups in order."""
        prompts = [Prompt.of(self.asked(self.numbered(cases, row))) for row, (_, cases) in enumerate(groups)]
        choices = [self.network.tokens(answer)[0] for answer in ANSWERS]
        logits = choice_logits(self.network, prompts, choices, self.vectors([history for history, _ in groups]))
        return logits[:, 0] - logits[:, 1]

    def numbered(self, cases: Sequence[Case], row: int) -> list[Case]:
        """The questions after history `row` of a call, for models that say whose history it is."""
        return list(cases)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy of the answers to questions about the batch; 0 when there are none to ask."""
        if not self.shares or not self._reads_on:
            return super().loss(batch, step)
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        groups = list(self.groups(batch.known(), random))
        if not groups:
            return next(one for one in self.parameters() if one.requires_grad).sum() * 0.0
        odds = self.odds(groups)
        wanted = [float(case.words["answer"] == ANSWERS[0]) for _, cases in groups for case in cases]
        return functional.binary_cross_entropy_with_logits(odds, torch.tensor(wanted, device=odds.device))

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Yes or no about random events that something precedes."""
        for _, cases in self.groups(batch, random):
            yield from cases

    def groups(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Group]:
        """Random places of histories, with questions about what comes there. Raises `DataError` for "liked" without ratings."""
        if self.config.label == "liked" and batch.weights is None:
            raise DataError("label `liked` needs ratings and the log has none; name their column, or use label = taken")
        for row, event in followed_events(batch, max(1, round(self.config.examples * len(batch))), random):
            before, stop = row_of(batch, row, before=event), int(batch.offsets[row + 1])
            asked = self._rated(batch, event, stop) if self.config.label == "liked" else self._taken(batch, row, event, random)
            yield before, [self.case(before, item, answer=ANSWERS[0 if yes else 1]) for item, yes in asked]

    def _rated(self, batch: HistoryBatch, event: int, stop: int) -> list[tuple[int, bool]]:
        assert batch.weights is not None
        here = slice(event, min(stop, event + self.config.questions))
        return [(item, rating >= self.config.liked_from) for item, rating in zip(batch.items[here].tolist(), batch.weights[here].tolist())]

    def _taken(self, batch: HistoryBatch, row: int, event: int, random: np.random.Generator) -> list[tuple[int, bool]]:
        """Events from `event` on, and for each of them an item that the row does not hold; of one question, either."""
        taken = batch.items[batch.offsets[row] : batch.offsets[row + 1]].tolist()
        coming = taken[event - int(batch.offsets[row]) :][: max(1, self.config.questions // 2)]
        pairs = [(item, True) for item in coming] + [(item_outside(taken, self.items, random), False) for _ in coming]
        return pairs if self.config.questions > 1 else [pairs[int(random.random() < 0.5)]]

    def case(self, history: HistoryBatch, item: int, *, answer: str = "") -> Case:
        """The last items of a history, apart by rating where there are ratings (and they are asked about), and the item."""
        told = slice(-self.config.told_history, None)
        items = history.items[told].tolist()
        good = [True] * len(items)
        if history.weights is not None and self.config.label == "liked":
            good = (history.weights[told] >= self.config.liked_from).tolist()
        liked = [one for one, pleased in zip(items, good) if pleased]
        disliked = [one for one, pleased in zip(items, good) if not pleased]
        return Case(-1, item, liked, disliked, words={"answer": answer})

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and how long an own model practised."""
        return {**super().figures(), "steps of questions": self.config.question_steps if self.config.network.folder is None else 0}

    @property
    def _reads_on(self) -> bool:
        return not self.network.reads_first

    def _pretrain(self, histories: Histories) -> None:
        super()._pretrain(histories)
        if self.config.question_steps:
            self._practise(histories)

    def _practise(self, histories: Histories, *, histories_a_step: int = 24) -> None:
        """Questions of random training histories, all weights of the language model learning (AdamW, warm-up, falling to 0)."""
        steps, weights = self.config.question_steps, list(self.network.model.parameters())
        optimizer = torch.optim.AdamW(weights, lr=self.config.pretrain_learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 20, 1.0 - step / steps))
        was_training = self.training
        self.train()
        with torch.enable_grad():
            for step in range(steps):
                rows = torch.randint(len(histories), (histories_a_step,)).numpy()
                loss = YesNoModel.loss(self, to_batch(histories.take(rows), device=str(self.network.device)), step)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()
                schedule.step()
        self.train(was_training)
