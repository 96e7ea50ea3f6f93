"""`rank_scores`: exact top-k with a fixed tie rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Cases, Histories
from recsmith.errors import DataError, UserError
from recsmith.evaluation import rank_scores
from recsmith.evaluation.ranking import answer_in_blocks


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 6))
def test_equals_a_full_stable_sort_also_with_ties_and_forbidden_items(seed, k, levels):
    random = np.random.default_rng(seed)
    scores = random.integers(0, levels, (4, 12)).astype(np.float32)
    scores[random.random(scores.shape) < 0.2] = -np.inf
    exclude = Histories.from_rows([random.integers(0, 12, random.integers(0, 8)) for _ in range(4)])
    before = scores.copy()
    lists = rank_scores(scores, k, exclude=exclude)
    np.testing.assert_array_equal(scores, before)
    for row in range(4):
        masked = scores[row].copy()
        masked[exclude.row(row)] = -np.inf
        order = [item for item in np.argsort(-masked, kind="stable") if masked[item] > -np.inf][:k]
        assert lists.items[row].tolist() == order + [-1] * (k - len(order))
        assert lists.scores[row].tolist() == masked[order].tolist() + [-np.inf] * (k - len(order))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 13))
def test_blocks_give_the_same_lists(seed, k, block):
    random = np.random.default_rng(seed)
    scores = random.integers(0, 4, (5, 12)).astype(np.float32)
    scores[random.random(scores.shape) < 0.2] = -np.inf
    histories = Histories.from_rows([random.integers(-1, 12, random.integers(0, 8)) for _ in range(5)])
    cases = Cases(np.arange(5), histories, histories)
    answer = answer_in_blocks(lambda asked, start, stop: scores[asked.users, start:stop], item_count=12, block=block)
    expected = rank_scores(scores, k, exclude=histories.where(histories.values >= 0))
    np.testing.assert_array_equal(answer(cases, k).items, expected.items)
    np.testing.assert_array_equal(answer(cases, k).scores, expected.scores)


def test_bad_input():
    scores = np.zeros((1, 3), dtype=np.float32)
    with pytest.raises(UserError, match=r"k = 4 does not fit a catalogue of 3 items"):
        rank_scores(scores, 4)
    with pytest.raises(DataError, match="hold nan"):
        rank_scores(np.array([[0.0, np.nan, 1.0]]), 1)
    with pytest.raises(UserError, match="block = 0 does not work"):
        answer_in_blocks(lambda *_: scores, item_count=3, block=0)
    empty = Cases(np.zeros(1, dtype=int), Histories.from_rows([[]]), Histories.from_rows([[]]))
    with pytest.raises(UserError, match="k = 4 does not fit a catalogue of 3 items"):
        answer_in_blocks(lambda *_: scores, item_count=3)(empty, 4)
