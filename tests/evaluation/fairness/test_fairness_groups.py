"""Groups of people and of items, against values worked out by hand and against simulated chance."""

import numpy as np
import pytest

from recsmith.data import Histories
from recsmith.errors import DataError, UserError
from recsmith.evaluation.fairness import consistency, envy, group_utility, item_group_exposure
from recsmith.evaluation.significance import detectable_gap, group_permutation_test

# ---- people ----------------------------------------------------------------------------------------------------------------


def test_utility_by_group_by_hand():
    values = np.array([1, 0, 1, 1, 0, 0, np.nan, 1.0])
    found = group_utility(values, ["f", "f", "f", "f", "m", "m", "m", None])
    assert [(row.group, row.members, row.mean) for row in found.rows] == [("f", 4, 0.75), ("m", 2, 0.0)]
    assert (found.gap, found.ratio, found.worst, found.unknown) == (0.75, 0.0, "m", 1)
    assert found.as_dict()["worst"] == "m"
    assert found.rows[0].interval.low <= 0.75 <= found.rows[0].interval.high


def test_a_gap_that_could_be_chance_says_what_would_have_been_seen():
    random = np.random.default_rng(0)
    groups = ["a", "b"] * 200
    same = group_utility(random.random(400), groups)
    assert same.p_value > 0.05
    assert "no difference shown; a gap of" in same.sentence()
    other = group_utility(random.random(400) + np.tile([0.0, 0.5], 200), groups)
    assert other.p_value < 0.01
    assert other.worst == "a"
    assert "no difference" not in other.sentence()


def test_the_group_test_keeps_its_level_and_finds_what_it_says_it_finds():
    random = np.random.default_rng(1)

    def rejects(values, groups, trial):
        return group_permutation_test(values, groups, resamples=99, seed=trial) <= 0.05

    groups = np.repeat([0, 1, 2], [40, 60, 20])
    assert np.mean([rejects(random.exponential(size=120), groups, trial) for trial in range(800)]) == pytest.approx(0.05, abs=0.02)
    gap = detectable_gap(random.normal(0, 1, 10_000), random.normal(0, 2, 5_000)) * 10  # for groups of 100 and 50
    sides = np.repeat([0, 1], [100, 50])
    values = [np.concatenate([random.normal(gap, 1, 100), random.normal(0, 2, 50)]) for _ in range(300)]
    found = [rejects(own, sides, trial) for trial, own in enumerate(values)]
    assert np.mean(found) > 0.75


def test_one_group_or_one_value_is_no_difference():
    assert group_permutation_test(np.array([1.0, 2.0]), np.zeros(2, dtype=int)) == 1
    assert group_permutation_test(np.ones(4), np.array([0, 0, 1, 1])) == 1
    assert np.isnan(detectable_gap(np.ones(3), np.ones(3)))


@pytest.mark.parametrize(
    ("values", "groups", "error", "message"),
    [
        ([1, 0, 1], ["a", "a", "b"], DataError, "group `b` has one member with a value; a group needs at least 2: merge it"),
        ([1, 0, np.nan, np.nan], ["a", "a", "b", "b"], DataError, "two groups and the cases have only `a`"),
        ([1.0], [None], DataError, "the cases have none; choose another attribute"),
        ([1, 0], ["a"], DataError, "1 groups for 2 values"),
    ],
)
def test_groups_that_cannot_be_compared(values, groups, error, message):
    with pytest.raises(error, match=message):
        group_utility(np.array(values, dtype=float), groups)


def test_larger_groups_may_be_asked_for():
    with pytest.raises(DataError, match="group `b` has 3 members with a value; a group needs at least 5"):
        group_utility(np.ones(9), ["a"] * 6 + ["b"] * 3, smallest=5)
    with pytest.raises(UserError, match="smallest = 1 does not work"):
        group_utility(np.ones(4), ["a", "a", "b", "b"], smallest=1)


# ---- items -----------------------------------------------------------------------------------------------------------------


def test_exposure_by_provider_by_hand():
    """Provider x has items 0, 1, provider y items 2, 3; item 4 is nobody's. Discounts are 1 and 1/log2(3)."""
    second = 1 / np.log2(3)
    found = item_group_exposure(
        np.array([[0, 2], [1, 0], [0, 4]]),
        ["x", "x", "y", "y", None],
        k=2,
        targets=Histories.from_rows([[2, 3], [0], [1, 4]]),
        popularity=np.array([6, 2, 1, 1, 9]),
    )
    x, y = found.rows
    assert (x.group, y.group, found.worst) == ("x", "y", "y")
    assert (x.items, x.catalogue_share, x.training_share) == (2, 0.5, 0.8)
    total = 3 + 2 * second
    assert x.exposure_share == pytest.approx((3 + second) / total)
    assert y.exposure_share == pytest.approx(second / total)
    assert x.parity == pytest.approx(2 * x.exposure_share)
    assert (x.recommended_rate, y.recommended_rate) == (4 / 6, 1 / 6)
    assert (x.true_positive_rate, y.true_positive_rate) == (0.5, 0.5)
    assert found.equal_opportunity == 0
    assert found.statistical_parity == pytest.approx(np.std([4, 1]) / np.mean([4, 1]))
    assert found.as_dict()["worst"] == "y"


def test_a_system_that_shows_all_alike_has_parity():
    items = np.stack([np.random.default_rng(row).permutation(10) for row in range(20)])
    found = item_group_exposure(items, ["a"] * 3 + ["b"] * 7, k=10)
    assert found.statistical_parity == pytest.approx(0)
    assert found.equal_opportunity is None
    assert found.rows[0].training_share is None


def test_items_without_groups_are_refused():
    with pytest.raises(DataError, match="two groups of items and the catalogue has 1"):
        item_group_exposure(np.array([[0]]), ["a", None], k=1)
    with pytest.raises(DataError, match="no listed item has a known group"):
        item_group_exposure(np.array([[2]]), ["a", "b", None], k=1)


# ---- single people ---------------------------------------------------------------------------------------------------------


def test_consistency_by_hand():
    """Two pairs of twins: one fares alike, one does not. |0 - 1| twice over four people."""
    vectors = np.array([[1, 0], [1, 0.01], [0, 1], [0.01, 1]])
    assert consistency(np.array([1, 1, 0, 1.0]), vectors, neighbours=1) == pytest.approx(1 - 2 / 4)
    assert consistency(np.array([1, 1, 0, 0.0]), vectors, neighbours=1) == 1
    assert consistency(np.array([1, 1, np.nan, 0.0]), vectors, neighbours=1) < 1
    with pytest.raises(UserError, match="neighbours = 4 does not work with 4 people; allowed: 1 to 3"):
        consistency(np.ones(4), vectors, neighbours=4)
    with pytest.raises(DataError, match="4 vectors for 2 values"):
        consistency(np.ones(2), vectors)


def test_envy_by_hand():
    """Person 0 likes item 0 alone and is shown item 1, which person 1 likes; person 1 is shown item 0: both would swap."""
    relevance = np.array([[1.0, 0.0], [0.0, 1.0]])
    swapped = envy(relevance, np.array([[1], [0]]))
    assert (swapped.mean, swapped.envious) == (1, 1)
    content = envy(relevance, np.array([[0], [1]]))
    assert (content.mean, content.envious) == (0, 0)
    half = envy(relevance, np.array([[0], [-1]]))
    assert (half.mean, half.envious) == (0, 0)  # nobody else's list has what person 1 wants
    discount = 1 / np.log2(3)
    ranked = envy(relevance, np.array([[1, 0], [0, 1]]))
    assert ranked.mean == pytest.approx((1 - discount) / (1 + discount))
    with pytest.raises(DataError, match="do not fit"):
        envy(relevance, np.zeros((3, 1), dtype=int))
