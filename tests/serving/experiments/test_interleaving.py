"""Team draft: fair to equal systems, every item once; and a test that may be looked at all the time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.errors import DataError, UserError
from recsmith.serving.experiments import credit, interleaving_test, lists_needed, team_draft

RANKED = st.lists(st.integers(0, 9), unique=True, max_size=8)


@settings(max_examples=100, deadline=None)
@given(RANKED, RANKED, st.integers(1, 12), st.integers(0, 99))
def test_every_item_once_and_each_from_its_team(first: list[int], second: list[int], k: int, seed: int) -> None:
    shown = team_draft(first, second, k, np.random.default_rng(seed))
    items = shown.items.tolist()
    assert len(items) == len(set(items)) == min(k, len(set(first) | set(second)))
    for team, own in enumerate((first, second)):
        assert all(item in own for item, whose in zip(items, shown.teams, strict=True) if whose == team)
    rounds = min(len(first), len(second), len(items)) // 2
    teams = shown.teams[: 2 * rounds].reshape(-1, 2)
    if set(first).isdisjoint(second):
        assert (teams.sum(axis=1) == 1).all()
        assert [item for item in items if item in first] == first[: len([item for item in items if item in first])]


def test_equal_systems_own_every_place_equally_often() -> None:
    random = np.random.default_rng(0)
    teams = np.array([team_draft([3, 1, 4, 2], [3, 1, 4, 2], 4, random).teams for _ in range(4_000)])
    assert teams.mean(axis=0) == pytest.approx([0.5] * 4, abs=0.03)
    assert team_draft([3, 1, -1], [3, 1, -1], 4, random).items.tolist() == [3, 1]


def test_credits() -> None:
    shown = team_draft([1, 2], [3, 4], 4, np.random.default_rng(0))
    assert sorted(shown.items) == [1, 2, 3, 4]
    assert credit(shown, [1, 2, 3, 77]) == (2, 1)
    assert credit(shown, []) == (0, 0)


def test_the_better_system_wins() -> None:
    """People click what they want: item 0, which the second system ranks higher."""
    random = np.random.default_rng(1)
    credits = []
    for _ in range(300):
        shown = team_draft([5, 6, 0, 7], [0, 5, 6, 7], 2, random)
        credits.append(credit(shown, [0] if random.random() < 0.8 else [5]))
    first, second = np.array(credits).T
    found = interleaving_test(first, second)
    assert found.winner == "second"
    assert found.share > 0.5
    assert found.p_value < found.sequential_p <= 0.05
    assert found.low > 0.5
    assert interleaving_test(second, first).winner == "first"


def test_looking_all_the_time_keeps_the_level_and_the_interval() -> None:
    random = np.random.default_rng(2)
    wrong = missed = 0
    for _ in range(80):
        wins = random.random(1_000) < 0.5
        tests = [interleaving_test(~wins[:n], wins[:n]) for n in range(10, 1_000, 110)]
        wrong += min(test.sequential_p for test in tests) <= 0.05
        missed += any(not test.low <= 0.5 <= test.high for test in tests)
    assert wrong == missed <= 0.05 * 80


def test_a_person_counts_once() -> None:
    first, second = np.array([1, 1, 0, 0, 0]), np.array([0, 0, 3, 1, 0])
    found = interleaving_test(first, second, units=np.array(["u", "u", "u", "v", "w"]))
    assert (found.units, found.wins) == (3, (0, 2))
    assert interleaving_test(first, second).wins == (2, 2)
    none = interleaving_test(np.zeros(3), np.zeros(3))
    assert (none.share, none.low, none.high, none.p_value, none.sequential_p, none.winner) == (0.5, 0.0, 1.0, 1.0, 1.0, "not yet")


def test_mistakes_and_size() -> None:
    assert lists_needed(0.55) == pytest.approx(783, abs=2)
    with pytest.raises(UserError, match="k = 0 items"):
        team_draft([1], [2], 0, np.random.default_rng(0))
    with pytest.raises(DataError, match="of equal length"):
        interleaving_test(np.zeros(3), np.zeros(3), units=np.zeros(2))
    with pytest.raises(UserError, match=r"other than 0\.5"):
        lists_needed(0.5)
