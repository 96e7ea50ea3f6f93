"""Beyond-accuracy metrics against values worked out by hand and against slow, obvious implementations."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.evaluation import evaluate_lists
from recsmith.evaluation.popularity_bias import long_tail, self_information
from recsmith.protocols import RankedLists


def evaluate_rows(rows, *, item_count, ks, **facts):
    items = np.array(rows, dtype=np.int64)
    targets = Histories.from_rows([[0]] * len(rows))
    return evaluate_lists(RankedLists(items, np.zeros(items.shape, dtype=np.float32)), targets, item_count=item_count, ks=ks, **facts)


def test_coverage_counts_the_share_of_the_catalogue_that_is_shown():
    found = evaluate_rows([[0, 1], [0, 2]], item_count=8, ks=(1, 2)).metrics
    assert found["Coverage@1"] == 1 / 8
    assert found["Coverage@2"] == 3 / 8


def test_gini_by_hand():
    """Exposures 0, 0, 1, 3: mean absolute difference over all ordered pairs, halved, over the mean."""
    found = evaluate_rows([[0, 1], [0, -1], [0, -1]], item_count=4, ks=(2,)).metrics
    exposures = np.array([3, 1, 0, 0])
    expected = np.abs(exposures[:, None] - exposures).mean() / (2 * exposures.mean())
    assert expected == 0.625
    assert found["Gini@2"] == pytest.approx(expected)


def test_gini_of_equal_and_of_most_unequal_exposure():
    assert evaluate_rows([[0, 1], [2, 3]], item_count=4, ks=(2,)).metrics["Gini@2"] == pytest.approx(0)
    assert evaluate_rows([[0], [0]], item_count=4, ks=(1,)).metrics["Gini@1"] == pytest.approx(3 / 4)


def test_nothing_shown_is_undefined_not_a_crash():
    found = evaluate_rows([[-1, -1]], item_count=4, ks=(2,), popularity=np.ones(4), vectors=np.eye(4))
    assert found.metrics["Coverage@2"] == 0
    assert found.metrics["Recall@2"] == 0
    for name in ("Gini@2", "Novelty@2", "ARP@2", "APLT@2", "ILD-vectors@2"):
        assert np.isnan(found.metrics[name])
    assert found.as_dict()["metrics"]["Gini@2"] is None


def test_novelty_and_average_popularity_by_hand():
    """16 training events: items with 8, 4, 2, 2 and 0 of them have 1, 2, 3, 3 and (as if 1) 4 bits."""
    popularity = np.array([8, 4, 2, 2, 0])
    np.testing.assert_allclose(self_information(popularity), [1, 2, 3, 3, 4])
    found = evaluate_rows([[0, 1, 4], [2, -1, -1]], item_count=5, ks=(1, 3), popularity=popularity)
    np.testing.assert_allclose(found.per_case["Novelty@3"], [7 / 3, 3])
    assert found.metrics["Novelty@1"] == pytest.approx(2)
    np.testing.assert_allclose(found.per_case["ARP@3"], [4, 2])
    assert found.metrics["ARP@1"] == pytest.approx(5)


def test_long_tail_is_all_but_the_most_popular_fifth_of_the_items():
    popularity = np.array([1, 9, 5, 5, 0, 0, 2, 0, 0, 3])
    assert np.flatnonzero(~long_tail(popularity)).tolist() == [1, 2]  # the tie of 2 and 3 goes to the smaller index
    found = evaluate_rows([[1, 2, 3, 4], [0, 9, -1, -1]], item_count=10, ks=(2, 4), popularity=popularity)
    np.testing.assert_allclose(found.per_case["APLT@4"], [0.5, 1])
    assert found.metrics["APLT@2"] == pytest.approx(0.5)


def test_head_of_a_tiny_catalogue_is_rounded_up():
    assert long_tail(np.array([1, 5, 2])).tolist() == [True, False, True]


def test_category_diversity_by_hand():
    """Sets {0,1}, {1}, {2}, {} : distances 1/2, 1, 1; the item without a category is left out."""
    categories = Histories.from_rows([[0, 1], [1], [2], []])
    found = evaluate_rows([[0, 1, 2], [0, 3, 1], [3, 0, -1]], item_count=4, ks=(2, 3), categories=categories)
    np.testing.assert_allclose(found.per_case["ILD-categories@3"], [5 / 6, 1 / 2, np.nan])
    np.testing.assert_allclose(found.per_case["ILD-categories@2"], [1 / 2, np.nan, np.nan])
    assert found.metrics["ILD-categories@3"] == pytest.approx(2 / 3)


def test_vector_diversity_by_hand():
    """Same direction 0, right angle 1, opposite 2; lengths do not matter; the zero vector is left out."""
    vectors = np.array([[1, 0], [5, 0], [0, 2], [-3, 0], [0, 0]], dtype=np.float32)
    found = evaluate_rows([[0, 1, 2], [0, 3, 4], [4, 0, -1]], item_count=5, ks=(2, 3), vectors=vectors)
    np.testing.assert_allclose(found.per_case["ILD-vectors@3"], [2 / 3, 2, np.nan], atol=1e-6)
    np.testing.assert_allclose(found.per_case["ILD-vectors@2"], [0, 2, np.nan], atol=1e-6)


def pairwise_mean(row, distance, known):
    pairs = [distance(a, b) for a, b in combinations([item for item in row if item >= 0 and known(item)], 2)]
    return np.mean(pairs) if pairs else np.nan


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_diversity_equals_the_loop_over_pairs(seed, category_count):
    random = np.random.default_rng(seed)
    item_count, width = 15, 7
    rows = np.stack([random.permutation(item_count)[:width] for _ in range(5)])
    rows[random.random(rows.shape) < 0.2] = -1
    sets = [set(random.integers(0, category_count, random.integers(0, 5)).tolist()) for _ in range(item_count)]
    vectors = random.standard_normal((item_count, 6)) * (random.random((item_count, 1)) < 0.9)
    categories = Histories.from_rows([sorted(one) + sorted(one)[:1] for one in sets])  # a repeated category changes nothing
    found = evaluate_rows(rows, item_count=item_count, ks=(3, 7), categories=categories, vectors=vectors).per_case

    def jaccard(a, b):
        return 1 - len(sets[a] & sets[b]) / len(sets[a] | sets[b])

    def cosine(a, b):
        return 1 - vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b])

    for k in (3, 7):
        by_sets = [pairwise_mean(row[:k], jaccard, lambda item: sets[item]) for row in rows]
        by_vectors = [pairwise_mean(row[:k], cosine, lambda item: vectors[item].any()) for row in rows]
        np.testing.assert_allclose(found[f"ILD-categories@{k}"], by_sets, atol=1e-9)
        np.testing.assert_allclose(found[f"ILD-vectors@{k}"], by_vectors, atol=1e-5)


def test_facts_about_another_number_of_items_are_refused():
    with pytest.raises(DataError, match=r"`popularity` describes 3 items but the catalogue has 4"):
        evaluate_rows([[0]], item_count=4, ks=(1,), popularity=np.ones(3))
    with pytest.raises(DataError, match=r"`categories` describes 1 items"):
        evaluate_rows([[0]], item_count=4, ks=(1,), categories=Histories.from_rows([[0]]))
