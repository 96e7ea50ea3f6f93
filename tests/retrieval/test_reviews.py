"""Late fusion of reviews, against scores worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from recsmith.data import Histories
from recsmith.errors import UserError
from recsmith.protocols import Limits
from recsmith.retrieval import ExactIndex, Question, ReviewSource

DIRECTIONS = {"cheap": [1, 0, 0], "near the sea": [0, 1, 0], "quiet": [0, 0, 1]}
OWNERS = np.array([0, 0, 1, 1, 2, 2])
REVIEWS = np.array([[1, 0, 0], [0.2, 0, 0], [0.8, 0, 0], [0, 0.9, 0], [0, 1, 0], [0.1, 0, 0.5]], dtype=np.float32)


def encode(texts: list[str]) -> np.ndarray:
    return np.array([DIRECTIONS[text] for text in texts], dtype=np.float32)


def source(**settings: object) -> ReviewSource:
    index = ExactIndex()
    index.add(np.arange(len(REVIEWS)), REVIEWS)
    return ReviewSource(index, OWNERS, encode, **settings)  # type: ignore[arg-type]


def ask(found: ReviewSource, words: str, limits: Limits | None = None) -> tuple[list[int], list[float]]:
    lists = found(Question(Histories.from_rows([[]]), words=[words], limits=limits or Limits()), 3)
    return lists.items[0].tolist(), lists.scores[0].tolist()


def test_an_item_scores_the_mean_of_its_best_reviews() -> None:
    items, scores = ask(source(best=1), "cheap")
    assert items == [0, 1, 2]
    assert scores == pytest.approx([1, 0.8, 0.1])
    items, scores = ask(source(best=2), "cheap")
    assert items == [0, 1, 2]
    assert scores == pytest.approx([0.6, 0.4, 0.05])


def test_aspects_are_asked_one_by_one() -> None:
    split = {"aspects": lambda words: words.split(" and "), "best": 1}
    items, scores = ask(source(**split), "cheap and near the sea")
    assert items[0] == 1
    assert scores == pytest.approx([(0.8 + 0.9) / 2, (0.1 + 1) / 2, (1 + 0) / 2])
    items, scores = ask(source(**split, fusion="least"), "cheap and near the sea")
    assert items == [1, 2, 0]
    assert scores == pytest.approx([0.8, 0.1, 0])
    with pytest.raises(UserError, match="no aspect was found in 'cheap'"):
        ask(source(aspects=lambda words: []), "cheap")


def test_limits_are_kept_and_silence_is_not_answered() -> None:
    limits = Limits(exclude=Histories.from_rows([[0, 7]]), allowed=np.array([True, True]))
    assert ask(source(), "cheap", limits)[0] == [1, -1, -1]
    assert ask(source(), " ")[0] == [-1, -1, -1]
