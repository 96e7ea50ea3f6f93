"""`Cascade`: candidates from several sources, fused, then put in order by ever dearer re-rankers. It satisfies the `Answer` protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsmith.data import Cases
from recsmith.errors import UserError
from recsmith.protocols import Limits, RankedLists
from recsmith.retrieval.fusion import reciprocal_rank_fusion
from recsmith.retrieval.question import Question, Reranker, Source


@dataclass(frozen=True)
class Stage:
    """A re-ranker and how many of the candidates it sees."""

    rerank: Reranker
    keep: int
    """Candidates handed to it, counted from the top; those behind keep their order after it."""


@dataclass(frozen=True)
class Cascade:
    """Sources → reciprocal-rank fusion → stages. Everything an answer holds came from a source, within the question's limits."""

    sources: Sequence[Source]
    candidates: int = 200
    """Items asked of each source."""
    weights: Sequence[float] | None = None
    """Weight of each source in the fusion; None: all alike."""
    stages: Sequence[Stage] = ()
    """Cheapest first."""
    fallback: Source | None = None
    """Asked for the rest where the sources together have fewer than k items (usually popularity)."""

    def answer(self, cases: Cases, k: int) -> RankedLists:
        """Lists for evaluation cases, items of the history masked."""
        return self(Question(cases.histories, cases.users, limits=Limits(exclude=cases.histories)), k)

    def __call__(self, question: Question, k: int) -> RankedLists:
        """The k best items of each row. Raises `UserError` when there is no source or k is not positive. A cascade is itself a `Source`."""
        if not self.sources:
            raise UserError("a cascade needs at least one source; for example sources=[PopularitySource(counts)]")
        if k < 1:
            raise UserError(f"k = {k} items cannot be answered; ask for at least 1")
        wanted = max(k, self.candidates)
        lists = reciprocal_rank_fusion([source(question, wanted) for source in self.sources], wanted, weights=self.weights)
        for stage in self.stages:
            lists = _with_new_head(lists, stage.rerank(question, _head(lists, stage.keep)))
        if self.fallback is not None and (lists.items[:, min(k, lists.items.shape[1]) - 1] < 0).any():
            lists = _filled(lists, self.fallback(question, wanted + k))
        return _head(lists, k)


def _head(lists: RankedLists, k: int) -> RankedLists:
    return RankedLists(lists.items[:, :k], lists.scores[:, :k])


def _with_new_head(lists: RankedLists, head: RankedLists) -> RankedLists:
    """The re-ranked head, then the rest in its old order, with scores that go on falling."""
    items, scores = np.full_like(lists.items, -1), np.full_like(lists.scores, -np.inf)
    for row in range(len(items)):
        first = head.items[row][head.items[row] >= 0]
        old = lists.items[row]
        rest = old[(old >= 0) & ~np.isin(old, first)]
        count = len(first) + len(rest)
        lowest = head.scores[row, len(first) - 1] if len(first) else 0.0
        items[row, :count] = np.concatenate([first, rest])
        scores[row, :count] = np.concatenate([head.scores[row, : len(first)], lowest - np.arange(1, len(rest) + 1)])
    return RankedLists(items, scores)


def _filled(lists: RankedLists, more: RankedLists) -> RankedLists:
    """Short lists with the items of `more` behind theirs."""
    width = lists.items.shape[1]
    items, scores = lists.items.copy(), lists.scores.copy()
    for row in range(len(items)):
        count = int((items[row] >= 0).sum())
        fresh = more.items[row][(more.items[row] >= 0) & ~np.isin(more.items[row], items[row, :count])][: width - count]
        lowest = scores[row, count - 1] if count else 0.0
        items[row, count : count + len(fresh)] = fresh
        scores[row, count : count + len(fresh)] = lowest - np.arange(1, len(fresh) + 1)
    return RankedLists(items, scores)
