"""`JudgingReranker`: a model that judges candidates of a history, one by one or together, as a stage of any cascade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsmith.protocols import HistoryBatch, RankedLists
from recsmith.retrieval.question import Question
from recsmith.training import row_batches

Judge = Callable[[Sequence[HistoryBatch], Sequence[list[int]]], list[Tensor]]
"""Histories as batches of one row each, and the candidates of each → a score per candidate, higher is better."""


@dataclass(frozen=True)
class JudgingReranker:
    """A `Reranker` by what a model judges, such as `CrossEncoderRating.judge`; rows without history keep their order and scores."""

    judge: Judge
    device: torch.device | str = "cpu"
    """Where the model is."""

    def __call__(self, question: Question, lists: RankedLists) -> RankedLists:
        """The same items, best first; of equal scores the earlier one stays first."""
        known = [row for row in range(len(question)) if len(question.histories.row(row)) and (lists.items[row] >= 0).any()]
        if not known:
            return lists
        candidates = [lists.items[row][lists.items[row] >= 0].tolist() for row in known]
        batches = row_batches(question.histories.take(np.array(known)), device=self.device)
        items, scores = lists.items.copy(), lists.scores.copy()
        for row, chosen, judged in zip(known, candidates, self.judge(batches, candidates), strict=True):
            values = judged.float().cpu().numpy()
            order = np.argsort(-values, kind="stable")
            items[row, : len(chosen)], scores[row, : len(chosen)] = np.array(chosen)[order], values[order]
            items[row, len(chosen) :], scores[row, len(chosen) :] = -1, -np.inf
        return RankedLists(items, scores)
