from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.decoding.grounding_distance import rank_by_distance
from recsmith.decoding.grounding_search import rank_by_search
from recsmith.decoding.grounding_single_token import SingleTokenIndex
from recsmith.errors import UserError
from recsmith.protocols import Limits

ITEMS = np.array([[0, 0], [1, 0], [2, 0], [4, 0]], dtype=np.float32)


def test_near_items_come_first_and_popular_ones_move_up() -> None:
    texts = np.array([[0.9, 0], [3.9, 0]], dtype=np.float32)
    assert rank_by_distance(texts, ITEMS, 4).items.tolist() == [[1, 0, 2, 3], [3, 2, 1, 0]]
    moved = rank_by_distance(texts, ITEMS, 4, popularity=np.array([0, 0, 9, 0]), strength=1.0)
    assert moved.items.tolist() == [[1, 2, 0, 3], [3, 2, 1, 0]]


def test_distances_by_hand() -> None:
    """Distances 1, 0, 1, 3 → 1/3, 0, 1/3, 1; the popular item 2 is divided by 2."""
    lists = rank_by_distance(ITEMS[1:2], ITEMS, 4, popularity=np.array([0, 1, 2, 0]), strength=1.0)
    assert lists.items.tolist() == [[1, 2, 0, 3]]
    np.testing.assert_allclose(-lists.scores[0], [0, 1 / 6, 1 / 3, 1], atol=1e-6)


def test_limits_hold_for_distances_too() -> None:
    limits = Limits(exclude=Histories.from_rows([[1]]), allowed=np.array([True, True, False, True]))
    assert rank_by_distance(ITEMS[1:2], ITEMS, 3, limits=limits).items.tolist() == [[0, 3, -1]]
    with pytest.raises(UserError, match="use one encoder for both"):
        rank_by_distance(np.zeros((1, 3), dtype=np.float32), ITEMS, 1)


SCORES = {"a": [3, 2, 1, 0], "b": [0, 3, 0, 1], "c": [0, 0, 0, 0]}


def search(texts) -> np.ndarray:
    return np.array([SCORES[text] for text in texts], dtype=np.float32)


def test_texts_take_turns_in_order_of_their_likelihood() -> None:
    assert rank_by_search([["a", "b", "a", "c"], ["c"], []], search, 4).items.tolist() == [[0, 1, 2, 3], [-1] * 4, [-1] * 4]
    likely = rank_by_search([["a", "b"]], search, 3, likelihoods=[[-2.0, -1.0]])
    assert likely.items.tolist() == [[1, 0, 3]]
    assert likely.scores.tolist() == [[0, -1, -2]]
    with pytest.raises(UserError, match="give one likelihood per text"):
        rank_by_search([["a"]], search, 1, likelihoods=[[]])


def make_index() -> SingleTokenIndex:
    torch.manual_seed(0)
    return SingleTokenIndex(torch.randn(12, 8), [[1, 2], [3], [4, 5, 6], [7, 8]], width=8)


def test_an_index_without_training_is_the_mean_of_the_tokens() -> None:
    index = make_index()
    expected = torch.stack(
        [index.vectors[[1, 2]].mean(0), index.vectors[3], index.vectors[[4, 5, 6]].mean(0), index.vectors[[7, 8]].mean(0)]
    )
    torch.testing.assert_close(index.item_vectors(), expected)


def test_training_learns_what_followed_and_moves_nothing_else() -> None:
    index = make_index()
    before = index.vectors.clone()
    hidden = torch.randn(64, 8)
    targets = (hidden[:, 0] > 0).long() * 2 + (hidden[:, 1] > 0).long()
    index.fit(hidden, targets, steps=150)
    assert (index.score(hidden).argmax(dim=1) == targets).float().mean() > 0.9
    assert torch.equal(index.vectors, before)


def test_titles_need_tokens() -> None:
    with pytest.raises(UserError, match="the title of item 1 has no token"):
        SingleTokenIndex(torch.randn(3, 2), [[1], []])
