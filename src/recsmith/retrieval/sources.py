"""Candidate sources: dense, sparse, co-occurrence, popularity, and any fitted recommender. Each is a `Source`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from scipy import sparse

from recsmith.data import Cases, Histories
from recsmith.decoding import top_k
from recsmith.encoders import UserVectorConfig, user_vectors
from recsmith.protocols import Encode, Limits, RankedLists
from recsmith.retrieval.bm25 import Bm25Index
from recsmith.retrieval.fusion import reciprocal_rank_fusion
from recsmith.retrieval.index import Index
from recsmith.retrieval.question import Question


@dataclass(frozen=True)
class DenseSource:
    """Items near the vectors of the person's interests, and near what the person says where `encode` is given."""

    index: Index
    """Over the same vectors, by item number."""
    vectors: np.ndarray
    """float32 `[item, dim]`, unit length: what the events of histories are read as."""
    config: UserVectorConfig = field(default_factory=UserVectorConfig)
    """How a history becomes vectors."""
    encode: Encode | None = None
    """The encoder of the items, for words; with the prompt of queries where it has one (`encode_texts(…, side="queries")`)."""

    def __call__(self, question: Question, k: int) -> RankedLists:
        """Interests of a person are searched one by one; an item counts with the interest that it is nearest to."""
        asked = user_vectors(question.histories, self.vectors, self.config)
        lists = _best_of_interests(self._search(asked.vectors, asked.rows, question, k), asked.rows, len(question), k)
        if question.words is None or self.encode is None:
            return lists
        spoken = np.flatnonzero([bool(text.strip()) for text in question.words])
        if not len(spoken):
            return lists
        found = self._search(self.encode([question.words[int(row)] for row in spoken]), spoken, question, k)
        by_words = _best_of_interests(found, spoken, len(question), k)
        return reciprocal_rank_fusion([lists, by_words], k)

    def _search(self, queries: np.ndarray, rows: np.ndarray, question: Question, k: int) -> RankedLists:
        if not len(queries):
            return RankedLists(np.zeros((0, k), dtype=np.int64), np.zeros((0, k), dtype=np.float32))
        return self.index.search(queries, k, limits=_of_rows(question.limits, rows))


@dataclass(frozen=True)
class SparseSource:
    """Items whose texts share words with what the person says, or else with the texts of the last events."""

    index: Bm25Index
    texts: Sequence[str]
    """Text of each item."""
    events: int = 5
    """Events whose texts make the query where nothing is said."""

    def __call__(self, question: Question, k: int) -> RankedLists:
        """One query per person."""
        words = question.words or [""] * len(question)
        recent = question.histories.tail(self.events)
        queries = [said if said.strip() else " ".join(self.texts[item] for item in recent.row(row)) for row, said in enumerate(words)]
        return self.index.search(queries, k, limits=question.limits)


class CooccurrenceSource:
    """Items that people had beside those of the history: for each event, shared people over the geometric mean of both items' people."""

    def __init__(self, train: Histories, *, items: int) -> None:
        """`train` are training histories only."""
        matrix = sparse.csr_array((np.ones(len(train.values), np.float32), train.values, train.offsets), shape=(len(train), items))
        matrix.sum_duplicates()
        matrix.data[:] = 1
        people = np.asarray(matrix.sum(axis=0)).reshape(-1)
        self._unit = matrix @ sparse.diags_array(1 / np.sqrt(np.maximum(people, 1)))

    def __call__(self, question: Question, k: int) -> RankedLists:
        """Items without any link to the history are not answered."""
        asked, items = question.histories, self._unit.shape[1]
        mine = sparse.csr_array((np.ones(len(asked.values), np.float32), asked.values, asked.offsets), shape=(len(asked), items))
        scores = (mine @ self._unit.T @ self._unit).toarray().astype(np.float32)
        scores[scores == 0] = -np.inf
        return top_k(torch.from_numpy(scores), k, limits=question.limits)


@dataclass(frozen=True)
class PopularitySource:
    """What most people had: the source that always has an answer."""

    counts: np.ndarray
    """Training events per item, `[item]`."""

    def __call__(self, question: Question, k: int) -> RankedLists:
        """The same scores for everybody."""
        scores = torch.as_tensor(self.counts, dtype=torch.float32).expand(len(question), -1)
        return top_k(scores, k, limits=question.limits)


class _Answers(Protocol):
    def answer(self, cases: Cases, k: int) -> RankedLists: ...


@dataclass(frozen=True)
class RecommenderSource:
    """Any fitted recommender, or whatever has an `answer` (the `Answer` protocol) that masks the items of the history."""

    recommender: _Answers

    def __call__(self, question: Question, k: int) -> RankedLists:
        """Asks for more where the limits forbid more than the history, and leaves out what is forbidden."""
        users = np.full(len(question), -1) if question.users is None else question.users
        size = getattr(self.recommender, "items", None)
        wanted = k if question.limits.allowed is None and question.limits.exclude is None else 4 * k
        cases = Cases(users, question.histories, Histories.from_rows([[]] * len(question)))
        lists = self.recommender.answer(cases, min(wanted, size) if isinstance(size, int) else wanted)
        return _within(lists, question.limits, k)


def _best_of_interests(lists: RankedLists, rows: np.ndarray, people: int, k: int) -> RankedLists:
    """Lists of queries `[query, k]` that belong to `rows` as one list per person: each item with its best score."""
    merged = RankedLists(np.full((people, k), -1, dtype=np.int64), np.full((people, k), -np.inf, dtype=np.float32))
    for row in np.unique(rows):
        items, scores = lists.items[rows == row].reshape(-1), lists.scores[rows == row].reshape(-1)
        order = np.lexsort((items, -scores))
        order = order[items[order] >= 0]
        _, first = np.unique(items[order], return_index=True)
        best = order[np.sort(first)][:k]
        merged.items[row, : len(best)], merged.scores[row, : len(best)] = items[best], scores[best]
    return merged


def _of_rows(limits: Limits, rows: np.ndarray) -> Limits:
    return Limits(exclude=None if limits.exclude is None else limits.exclude.take(rows), allowed=limits.allowed)


def _within(lists: RankedLists, limits: Limits, k: int) -> RankedLists:
    items, scores = lists.items.copy(), lists.scores.copy()
    if limits.allowed is not None:
        items[(items >= 0) & ~np.asarray(limits.allowed, dtype=bool)[items]] = -1
    if limits.exclude is not None:
        for row in range(len(items)):
            items[row, np.isin(items[row], limits.exclude.row(row))] = -1
    order: Any = np.argsort(items < 0, axis=1, kind="stable")[:, :k]
    items, scores = np.take_along_axis(items, order, 1), np.take_along_axis(scores, order, 1)
    short = k - items.shape[1]
    items = np.pad(items, ((0, 0), (0, short)), constant_values=-1)
    return RankedLists(items, np.where(items < 0, -np.inf, np.pad(scores, ((0, 0), (0, short)))).astype(np.float32))
