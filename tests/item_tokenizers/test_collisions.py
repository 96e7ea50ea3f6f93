from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsmith.data import ItemCodes
from recsmith.errors import UserError
from recsmith.item_tokenizers import assign_new, code_figures, with_collision_level
from recsmith.item_tokenizers.collisions import spread_collisions

prefixes = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40).map(lambda rows: np.array(rows))


@given(prefixes)
def test_collision_level_makes_rows_distinct_and_keeps_prefixes(table: np.ndarray) -> None:
    codes = with_collision_level(table, (3, 3))
    assert len(np.unique(codes.table, axis=0)) == len(table)
    np.testing.assert_array_equal(codes.table[:, :2], table)


@given(prefixes, prefixes)
def test_new_items_never_collide(old: np.ndarray, new: np.ndarray) -> None:
    taken = with_collision_level(old, (3, 3))
    everything = [(first, second) for first in range(3) for second in range(3)]
    added = assign_new(new, taken, alternatives=lambda row: everything)
    assert len(np.unique(np.concatenate([taken.table, added.table]), axis=0)) == len(old) + len(new)


def test_digits_count_in_item_order_and_leave_room() -> None:
    codes = with_collision_level(np.array([[1], [0], [1], [1], [0]]), (2,))
    assert codes.table[:, 1].tolist() == [0, 0, 1, 2, 1]
    assert codes.sizes == (2, 8)
    assert with_collision_level(np.zeros((50, 1), dtype=np.int64), (1,)).sizes == (1, 100)


def test_freed_digits_are_used_again() -> None:
    taken = ItemCodes(np.array([[0, 0], [0, 2]]), (1, 8))
    assert assign_new(np.zeros((2, 1), dtype=np.int64), taken).table[:, 1].tolist() == [1, 3]


def test_full_prefix_without_alternatives_is_an_error() -> None:
    taken = ItemCodes(np.array([[0, 0], [0, 1]]), (2, 2))
    with pytest.raises(UserError, match=r"no free code for new item 0: all 2 collision codes of prefix \(0,\)"):
        assign_new(np.array([[0]]), taken)


def test_full_prefix_takes_the_first_alternative_with_room() -> None:
    taken = ItemCodes(np.array([[0, 0], [1, 0]]), (3, 1))
    assert assign_new(np.array([[0]]), taken, alternatives=lambda row: [(0,), (1,), (2,)]).table.tolist() == [[2, 0]]


def test_spreading_keeps_the_closest_item_and_moves_the_others_to_free_places() -> None:
    table = np.array([[0, 0], [0, 0], [0, 0], [0, 1]])
    moved = spread_collisions(table, np.array([0.3, 0.1, 0.2, 0.0]), lambda row: [(0, 0), (0, 1), (0, 2)])
    assert moved.tolist() == [[0, 0], [0, 0], [0, 2], [0, 1]]


def test_figures_of_a_known_table() -> None:
    figures = code_figures(with_collision_level(np.array([[0, 0], [0, 0], [1, 0], [1, 1]]), (4, 2)))
    assert figures["collision_rate"] == 0.5
    assert figures["largest_collision"] == 2
    assert figures["distinct_prefixes"] == 3
    assert figures["usage"] == [0.5, 1.0]
    assert figures["entropy_bits"] == pytest.approx([1.0, 0.8112781])
    assert figures["perplexity"][0] == pytest.approx(2)


def test_a_level_whose_codes_are_hardly_used_has_collapsed() -> None:
    table = np.stack([np.arange(200) % 100, (np.arange(200) == 0).astype(np.int64), np.zeros(200, dtype=np.int64)], axis=1)
    assert code_figures(ItemCodes(table, (100, 100, 4)))["collapsed_levels"] == [1]
    assert code_figures(ItemCodes(table, (100, 2, 4)))["collapsed_levels"] == []  # two codes can be no more than two
