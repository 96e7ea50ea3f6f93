from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from recsmith.nn.packed import offsets_from
from recsmith.nn.pieces import MergeRules, learn_merges, segment


def pack(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([token for row in rows for token in row], dtype=torch.int64), offsets_from(torch.tensor([len(row) for row in rows]))


def unpack(tokens: torch.Tensor, offsets: torch.Tensor) -> list[list[int]]:
    return [tokens[first:end].tolist() for first, end in pairwise(offsets)]


def by_hand(row: list[int], pairs: list[tuple[int, int]], first: int) -> list[int]:
    """Byte-pair encoding as in a textbook: the earliest rule that applies, everywhere from the left, again and again."""
    while True:
        here = {tuple(sorted(two)) for two in pairwise(row)}
        place = next((place for place, pair in enumerate(pairs) if tuple(sorted(pair)) in here), None)
        if place is None:
            return row
        pair = pairs[place]
        new, at = [], 0
        while at < len(row):
            if at + 1 < len(row) and sorted(row[at : at + 2]) == sorted(pair):
                new.append(first + place)
                at += 2
            else:
                new.append(row[at])
                at += 1
        row = new


@pytest.mark.parametrize("seed", range(6))
def test_segments_are_those_of_the_textbook(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = [random.integers(0, 5, random.integers(0, 14)).tolist() for _ in range(40)]
    pairs = [(0, 1), (2, 2), (5, 3), (6, 0), (1, 4), (5, 5), (4, 4)]
    rules = MergeRules.of(torch.tensor([*pairs, (-1, -1)]), first=5)
    assert unpack(*segment(*pack(rows), rules)) == [by_hand(row, pairs, 5) for row in rows]


def test_nothing_to_do_is_done() -> None:
    none = MergeRules.of(torch.full((3, 2), -1), first=9)
    assert unpack(*segment(*pack([[1, 2], [], [3]]), none)) == [[1, 2], [], [3]]
    assert unpack(*segment(*pack([[], []]), none)) == [[], []]


def test_the_most_frequent_pairs_become_rules_and_rules_build_on_rules() -> None:
    rows = [[0, 1, 2]] * 5 + [[1, 0]] * 3 + [[3, 4]] * 2 + [[4, 2]]
    rules = learn_merges(lambda _: pack(rows), first=5, merges=4, rounds=4)
    assert rules.tolist() == [[0, 1], [2, 5], [3, 4], [-1, -1]]


def test_a_pair_across_rows_does_not_count() -> None:
    rules = learn_merges(lambda _: pack([[0], [1]] * 10), first=2, merges=1, rounds=1)
    assert rules.tolist() == [[-1, -1]]
