from __future__ import annotations

import numpy as np
import pytest

from recsmith.data import Histories
from recsmith.item_tokenizers import tokenizer_card, with_collision_level
from recsmith.item_tokenizers.card import consecutive_pairs, neighbour_pairs, prefix_purity
from recsmith.testing.tokenizers import planted_vectors


def test_purity_of_a_known_table() -> None:
    """Group 0: red, red, blue; group 1: an item alone; group 2: one without category, one green: neither has company."""
    group = np.array([0, 0, 0, 1, 2, 2])
    categories = Histories.from_rows([[0, 0], [0, 3], [1], [0], [], [2]])
    assert prefix_purity(group, categories) == (pytest.approx(2 / 3), 3)
    assert prefix_purity(np.arange(6), categories) == (0.0, 0)


def test_pairs() -> None:
    histories = Histories.from_rows([[1, 2, 2, 3], [], [4], [3, 1]])
    assert consecutive_pairs(histories).T.tolist() == [[1, 2], [2, 3], [3, 1]]
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 2], [0, 0]], dtype=np.float32)
    pairs = neighbour_pairs(vectors)
    assert pairs.shape == (2, 20)  # everybody else is a neighbour
    assert not (pairs[0] == pairs[1]).any()


def test_perfect_codes_beat_random_deals_by_what_chance_leaves() -> None:
    vectors, clusters = planted_vectors(items_per_cluster=20)
    codes = with_collision_level(np.column_stack([clusters, np.tile(np.arange(20) // 2, 8)]), (8, 10))
    rows = [np.flatnonzero(clusters == cluster).tolist() for cluster in range(8)]
    card = tokenizer_card(
        codes, vectors=vectors, categories=Histories.from_rows(clusters[:, None].tolist()), histories=Histories.from_rows(rows)
    )
    assert card["prefix_purity"]["levels"] == [1.0, 1.0]
    assert card["prefix_purity"]["items"] == [160, 160]
    assert card["prefix_purity"]["random"][0] < 0.45
    assert card["neighbour_overlap"]["levels"][0] == 1.0
    assert card["neighbour_overlap"]["random"][0] == pytest.approx(1 / 8, abs=0.05)
    assert card["co_occurrence"]["levels"] == [1.0, pytest.approx(10 / 19)]
    assert card["co_occurrence"]["pairs"] == 8 * 19
    assert card["co_occurrence"]["lift"][0] == pytest.approx(8, rel=0.3)
    assert card["codes"]["collision_rate"] == 1


def test_worthless_codes_have_a_lift_of_one() -> None:
    vectors, clusters = planted_vectors(items_per_cluster=100)
    prefixes = np.random.default_rng(0).integers(0, 8, (len(clusters), 1))
    card = tokenizer_card(with_collision_level(prefixes, (8,)), vectors=vectors)
    assert card["neighbour_overlap"]["lift"][0] == pytest.approx(1, abs=0.05)
    assert card["prefix_purity"] is None
    assert card["co_occurrence"] is None


def test_degenerate_inputs_have_figures() -> None:
    one = tokenizer_card(with_collision_level(np.zeros((1, 1), dtype=np.int64), (1,)), vectors=np.ones((1, 3), dtype=np.float32))
    assert one["neighbour_overlap"] is None
    nothing = tokenizer_card(with_collision_level(np.zeros((2, 1), dtype=np.int64), (1,)), histories=Histories.from_rows([[0], []]))
    assert nothing["co_occurrence"]["levels"] == [0.0]
    assert nothing["co_occurrence"]["lift"] == [None]
