"""Recall by parts, serendipity, unexpectedness and calibration by categories, against loops and values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.evaluation import evaluate_lists
from recsmith.evaluation.popularity_bias import long_tail, popularity_by_group, popularity_curve
from recsmith.evaluation.relevance import Relevance, without_repeats
from recsmith.protocols import RankedLists

ITEMS, KS = 14, (2, 5)


def evaluate_rows(rows, targets, *, item_count=ITEMS, ks=KS, **facts):
    items = np.array(rows, dtype=np.int64)
    return evaluate_lists(
        RankedLists(items, np.zeros(items.shape, dtype=np.float32)), Histories.from_rows(targets), item_count=item_count, ks=ks, **facts
    )


def drawn(seed, cases=6):
    """Random lists with gaps, targets with an unknown one, histories, popularity with zeros, category sets with empty ones."""
    random = np.random.default_rng(seed)
    rows = np.stack([random.permutation(ITEMS)[:5] for _ in range(cases)])
    rows[random.random(rows.shape) < 0.15] = -1
    targets = [random.integers(-1, ITEMS, random.integers(0, 5)).tolist() for _ in range(cases)]
    histories = [random.integers(0, ITEMS, random.integers(0, 6)).tolist() for _ in range(cases)]
    popularity = random.integers(0, 4, ITEMS)
    sets = [set(random.integers(0, 90, random.integers(0, 4)).tolist()) for _ in range(ITEMS)]
    return rows, targets, histories, popularity, sets


def share(part, whole):
    return len(part) / len(whole) if whole else np.nan


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_everything_equals_the_loop_over_people(seed):
    rows, targets, histories, popularity, sets = drawn(seed)
    found = evaluate_rows(
        rows,
        targets,
        popularity=popularity,
        categories=Histories.from_rows([sorted(one) for one in sets]),
        histories=Histories.from_rows(histories),
    ).per_case
    tail = set(np.flatnonzero(long_tail(popularity)).tolist())
    ranking = np.argsort(-popularity, kind="stable").tolist()
    for case, row in enumerate(rows.tolist()):
        wanted, had = {item for item in targets[case] if item >= 0}, histories[case]
        for k in KS:
            listed = [item for item in row[:k] if item >= 0]
            parts = {"tail": wanted & tail, "head": wanted - tail, "repeated": wanted & set(had), "fresh": wanted - set(had)}
            parts["untrained"] = {item for item in wanted if popularity[item] == 0}
            for name, part in parts.items():
                if f"Recall-{name}@{k}" in found:
                    np.testing.assert_allclose(found[f"Recall-{name}@{k}"][case], share(part & set(listed), part))
            expected = [item for item in ranking if item not in had][:k]
            surprising = [item for item in listed if item in wanted and item not in expected and item not in had]
            value = len(surprising) / k if targets[case] else np.nan
            np.testing.assert_allclose(found[f"Serendipity@{k}"][case], value)
            familiar = set().union(*(sets[item] for item in had)) if had else set()
            shares = [len(sets[item] - familiar) / len(sets[item]) for item in listed if sets[item]]
            unexpected = np.mean(shares) if shares and familiar else np.nan
            np.testing.assert_allclose(found[f"Unexpectedness-categories@{k}"][case], unexpected)
            np.testing.assert_allclose(found[f"Calibration-KL@{k}"][case], steck(had, listed, sets), atol=1e-12)


def steck(history, listed, sets, alpha=0.01):
    """Equation by equation."""

    def distribution(items):
        known = [item for item in items if sets[item]]
        weights = {}
        for item in known:
            for category in sets[item]:
                weights[category] = weights.get(category, 0) + 1 / len(sets[item]) / len(known)
        return weights

    p, q = distribution(history), distribution(listed)
    if not p or not q:
        return np.nan
    return sum(value * np.log(value / ((1 - alpha) * q.get(name, 0) + alpha * value)) for name, value in p.items())


def test_serendipity_by_hand():
    """Popularity 0 > 1 > 2 > 3; the person had 0, so a primitive list of two is 1, 2. Hits are 1 (expected) and 3 (not)."""
    facts = {"popularity": np.array([9, 8, 7, 6, 0]), "histories": Histories.from_rows([[0]])}
    found = evaluate_rows([[1, 3]], [[1, 3]], item_count=5, ks=(1, 2), **facts).per_case
    assert found["Serendipity@1"].tolist() == [0]
    assert found["Serendipity@2"].tolist() == [0.5]


def test_calibration_by_hand():
    """History half and half, list all of one kind: .5 log(.5 / .995) + .5 log(.5 / .005)."""
    categories = Histories.from_rows([[0], [1], [0]])
    facts = {"categories": categories, "histories": Histories.from_rows([[0, 1], [0, 1]])}
    found = evaluate_rows([[0, 2], [2, 1]], [[0], [0]], item_count=3, ks=(2,), **facts).per_case["Calibration-KL@2"]
    np.testing.assert_allclose(found, [0.5 * np.log(0.5 / 0.995) + 0.5 * np.log(0.5 / 0.005), 0], atol=1e-12)


def test_unexpectedness_by_vectors_by_hand():
    vectors = np.array([[1, 0], [0, 3], [-2, 0], [0, 0]], dtype=np.float32)
    found = evaluate_rows(
        [[1, 2], [0, 3], [0, 1]], [[0]] * 3, item_count=4, ks=(1, 2), vectors=vectors, histories=Histories.from_rows([[0], [0, 0], []])
    )
    np.testing.assert_allclose(found.per_case["Unexpectedness-vectors@2"], [1.5, 0, np.nan], atol=1e-6)
    np.testing.assert_allclose(found.per_case["Unexpectedness-vectors@1"], [1, 0, np.nan], atol=1e-6)


def test_facts_are_not_changed_by_measuring():
    """Measuring twice gives the same, with categories that name one twice."""
    rows, targets, histories, popularity, _ = drawn(3)
    facts = {"categories": Histories.from_rows([[1, 1, 2]] * ITEMS), "popularity": popularity, "histories": Histories.from_rows(histories)}
    first, second = (evaluate_rows(rows, targets, **facts).metrics for _ in range(2))
    assert first == second


def test_entropy_by_hand():
    found = evaluate_rows([[0, 1], [0, 2]], [[0], [0]], item_count=8, ks=(2,)).metrics
    assert found["Entropy@2"] == pytest.approx(1.5)


def test_parts_appear_where_they_exist():
    found = evaluate_rows(
        [[0, 1]], [[0]], item_count=3, ks=(1,), popularity=np.array([2, 1, 1]), histories=Histories.from_rows([[2]])
    ).metrics
    assert "Recall-tail@1" in found
    assert not {"Recall-untrained@1", "Recall-repeated@1"} & set(found)


def test_many_targets_and_few_are_found_alike():
    random = np.random.default_rng(0)
    items = np.stack([random.permutation(500)[:30] for _ in range(40)])
    targets = Histories.from_rows([random.integers(0, 500, 300 if case % 7 == 0 else 3) for case in range(40)])
    found = Relevance.of(items, targets, item_count=500)
    expected = np.array([np.isin(row, targets.row(case)) for case, row in enumerate(items)])
    np.testing.assert_array_equal(found.hits, expected)
    assert found.targets.tolist() == [len(set(targets.row(case).tolist())) for case in range(40)]


def test_repetitions_lose_their_place_not_the_first():
    rows = np.array([[3, 1, 3, -1, 1], [0, 1, 2, 3, 4]])
    assert without_repeats(rows).tolist() == [[3, 1, -1, -1, -1], [0, 1, 2, 3, 4]]


def test_histories_of_other_people_are_refused():
    with pytest.raises(DataError, match="there are 2 histories for 1 cases"):
        evaluate_rows([[0, 1]], [[0]], ks=(1,), histories=Histories.from_rows([[1], [2]]))


# ---- popularity curve and groups ------------------------------------------------------------------------------------------


def test_popularity_curve_by_hand():
    rows = popularity_curve(np.array([[0, 1], [0, -1]]), np.array([6, 3, 1, 0]), steps=4)
    assert [(row.catalogue, row.training, round(row.recommended, 6)) for row in rows] == [
        (0.0, 0.0, 0.0),
        (0.25, 0.6, 0.666667),
        (0.5, 0.9, 1.0),
        (0.75, 1.0, 1.0),
        (1.0, 1.0, 1.0),
    ]
    with pytest.raises(DataError, match="at least one listed item"):
        popularity_curve(np.array([[-1]]), np.ones(3))


def test_popularity_lift_by_hand():
    """Niche people (mean popularity 1) are shown hits (10): a lift of 9; the others get what they like."""
    histories = Histories.from_rows([[1], [1, 1], [0], []])
    found = popularity_by_group(np.array([[0], [0], [0], [0]]), histories, np.array([10, 1]), ["niche", "niche", "hits", "hits"])
    assert [(row.group, row.members, row.profile, row.lists, row.lift) for row in found] == [("hits", 1, 10, 10, 0), ("niche", 2, 1, 10, 9)]
    with pytest.raises(DataError, match="3 groups do not fit"):
        popularity_by_group(np.zeros((4, 1), dtype=int), histories, np.ones(2), ["a"] * 3)
