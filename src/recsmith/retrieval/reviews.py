"""Items found by what people wrote about them: late fusion of reviews, one question or several aspects of it.

Reviewed-item retrieval (Abdollah Pour et al., ECIR 2023, arXiv:2301.06268) scores an item by its best reviews instead of by one vector of
all of them; multi-aspect retrieval (Korikov et al., 2024, arXiv:2401.15579) asks for each aspect apart and fuses the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recsmith.errors import UserError
from recsmith.protocols import Encode, Limits, RankedLists
from recsmith.retrieval.index import Index
from recsmith.retrieval.question import Question

Aspects = Callable[[str], Sequence[str]]
"""A person's words → the aspects to ask for one by one ("cheap and near the sea" → "cheap", "near the sea")."""


@dataclass(frozen=True)
class ReviewSource:
    """A `Source` over reviews. Only words are asked; people who say nothing get no answer from it.

    An item's score for an aspect is the mean of its `best` highest cosines among the `reviews` nearest ones; an item without a review
    among them has the lowest score found. Deviation from both papers: the encoder is taken as it is, not tuned on reviews.
    """

    index: Index
    """Over review vectors, by review number."""
    owners: np.ndarray
    """Item of each review, int64 `[review]`."""
    encode: Encode
    """The encoder of the reviews, for words; with the prompt of queries where it has one (`encode_texts(…, side="queries")`)."""
    reviews: int = 500
    """Reviews looked at per aspect."""
    best: int = 3
    """Reviews of an item that count."""
    aspects: Aspects | None = None
    """Splits the words; None asks for them as a whole."""
    fusion: Literal["mean", "least"] = "mean"
    """How aspects combine: their mean, or the worst of them (an item must please in all)."""

    def __call__(self, question: Question, k: int) -> RankedLists:
        """One search per aspect and person. Raises `UserError` when `aspects` finds none in somebody's words."""
        lists = RankedLists(np.full((len(question), k), -1, dtype=np.int64), np.full((len(question), k), -np.inf, dtype=np.float32))
        for row, words in enumerate(question.words or [""] * len(question)):
            if not words.strip():
                continue
            asked = [words] if self.aspects is None else list(self.aspects(words))
            if not asked:
                raise UserError(f"no aspect was found in {words[:60]!r}; return the words themselves where they have only one")
            items, scores = self._fused(asked, self._limits(question.limits, row))
            order = np.lexsort((items, -scores))[:k]
            lists.items[row, : len(order)], lists.scores[row, : len(order)] = items[order], scores[order]
        return lists

    def _fused(self, asked: list[str], limits: Limits) -> tuple[np.ndarray, np.ndarray]:
        """Items that any aspect finds, and their scores over all aspects."""
        lists = self.index.search(self.encode(asked), self.reviews, limits=limits)
        found = [self._by_item(items[items >= 0], scores[items >= 0]) for items, scores in zip(lists.items, lists.scores)]
        every = np.unique(np.concatenate([items for items, _ in found]))
        table = np.empty((len(found), len(every)), dtype=np.float32)
        for aspect, (items, scores) in enumerate(found):
            table[aspect] = scores.min(initial=1.0)
            table[aspect, np.searchsorted(every, items)] = scores
        return every, table.mean(axis=0) if self.fusion == "mean" else table.min(axis=0)

    def _by_item(self, reviews: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Items of the reviews found, ascending, and the mean of each one's best scores; `scores` fall."""
        owners = self.owners[reviews]
        order = np.argsort(owners, kind="stable")
        items, first, counts = np.unique(owners[order], return_index=True, return_counts=True)
        ranked = scores[order]
        means = [ranked[at : at + min(count, self.best)].mean() for at, count in zip(first, counts)]
        return items, np.array(means, dtype=np.float32)

    def _limits(self, limits: Limits, row: int) -> Limits:
        """What a person may be answered, by review."""
        items = int(self.owners.max(initial=-1)) + 1
        allowed = np.ones(items, dtype=bool)
        if limits.allowed is not None:
            given = np.asarray(limits.allowed, dtype=bool)[:items]
            allowed = np.pad(given, (0, items - len(given)))
        if limits.exclude is not None:
            excluded = limits.exclude.row(row)
            allowed[excluded[(excluded >= 0) & (excluded < items)]] = False
        return Limits(allowed=allowed[self.owners])
