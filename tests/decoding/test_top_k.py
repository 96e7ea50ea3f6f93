"""Exact top-k: masks, ties, short rows, NaN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Histories
from recsmith.decoding import top_k
from recsmith.errors import UserError
from recsmith.protocols import Limits


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 5),
    items=st.integers(1, 30),
    k=st.integers(1, 35),
    levels=st.sampled_from([1, 3, 1000]),
)
def test_same_as_sorting_by_score_and_index(seed, rows, items, k, levels):
    random = np.random.default_rng(seed)
    scores = random.integers(0, levels, size=(rows, items)).astype(np.float32)
    allowed = random.random(items) < 0.8
    exclude = Histories.from_rows([random.integers(-1, items, size=random.integers(0, items + 1)) for _ in range(rows)])
    answer = top_k(torch.from_numpy(scores), k, limits=Limits(exclude, allowed))
    for row in range(rows):
        possible = [item for item in range(items) if allowed[item] and item not in exclude.row(row)]
        expected = sorted(possible, key=lambda item: (-scores[row, item], item))[:k]
        assert answer.items[row].tolist() == expected + [-1] * (k - len(expected))
        assert answer.scores[row].tolist() == [*scores[row, expected].tolist(), *[-np.inf] * (k - len(expected))]


def test_the_scores_given_are_not_changed():
    scores = torch.zeros(2, 3)
    top_k(scores, 2, limits=Limits(Histories.from_rows([[0], [1]]), np.array([True, True, False])))
    assert (scores == 0).all()


def test_items_without_a_score_are_not_answered():
    answer = top_k(torch.tensor([[-torch.inf, 1.0, -torch.inf]]), 2)
    assert answer.items.tolist() == [[1, -1]]


def test_half_precision_scores_come_back_as_float32():
    assert top_k(torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16), 1).scores.dtype == np.float32


def test_no_rows():
    assert top_k(torch.zeros(0, 5), 3).items.shape == (0, 3)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="1 of 2 rows are NaN"):
        top_k(torch.tensor([[0.0, torch.nan], [0.0, 1.0]]), 1)
    with pytest.raises(ValueError, match="ask for at least 1"):
        top_k(torch.zeros(1, 2), 0)
    with pytest.raises(ValueError, match="the catalogue has 2 items"):
        top_k(torch.zeros(1, 2), 1, limits=Limits(allowed=np.ones(3, dtype=bool)))
