"""Measures of generators: rates, codes, temperature, likelihoods, by hand and by enumeration."""

import itertools

import numpy as np
import pytest

from recsmith.data import Histories
from recsmith.errors import DataError, UserError
from recsmith.evaluation.generation import code_use, generation_quality, list_log_likelihood, target_log_likelihood, temperature_curve
from recsmith.protocols import RankedLists


def test_rates_by_hand():
    found = generation_quality([["a", "b", "a", None], ["x", "", "b", "c"]], {"a", "b", "c"}, k=3)
    assert (found.outputs, found.invalid, found.hallucinated, found.duplicate, found.usable) == (8, 2 / 8, 1 / 8, 1 / 8, 4 / 8)
    assert found.short_lists == 1
    assert found.invalid + found.hallucinated + found.duplicate + found.usable == 1
    assert generation_quality([[1, 2]], lambda item: item < 2).as_dict()["hallucinated"] == 0.5
    with pytest.raises(DataError, match="nothing was generated"):
        generation_quality([[]], set())


def test_codes_by_hand():
    found = code_use(np.array([[0, 1], [0, 1], [1, 0], [2, 3]]), (4, 4))
    assert found.entropy_bits == (1.5, 1.5)
    assert found.usage == (0.75, 0.75)
    assert (found.collision_rate, found.distinct) == (0.5, 3)
    with pytest.raises(DataError, match="do not fit 3 levels"):
        code_use(np.zeros((2, 2), dtype=int), (1, 1, 1))


def test_heat_brings_diversity_and_costs_recall():
    logits = np.linspace(0, 4, 30)

    def draw(temperature, number):
        random = np.random.default_rng([number, int(temperature * 100)])
        noisy = logits / max(temperature, 1e-9) + random.gumbel(size=(200, 30)) * (temperature > 0)
        items = np.argsort(-noisy, axis=1)[:, :5]
        return RankedLists(items, np.zeros(items.shape, dtype=np.float32))

    rows = temperature_curve(draw, [0, 0.3, 3], Histories.from_rows([[29]] * 200), item_count=30)
    assert rows[0].diversity == 0
    assert rows[0].recall == 1
    assert rows[0].diversity < rows[1].diversity < rows[2].diversity
    assert rows[0].recall > rows[1].recall > rows[2].recall
    assert rows[0].entropy_bits < rows[1].entropy_bits < rows[2].entropy_bits
    assert (rows[0].distinct, rows[2].distinct) == (5, 30)
    with pytest.raises(UserError, match="give at least 2"):
        temperature_curve(draw, [1], Histories.from_rows([[0]] * 200), item_count=30, draws=1)


def test_list_likelihoods_of_all_lists_sum_to_one():
    scores = np.random.default_rng(0).standard_normal((1, 4))
    scores[0, 3] = -np.inf
    lists = np.array(list(itertools.permutations(range(3), 2)))
    found = list_log_likelihood(np.repeat(scores, len(lists), axis=0), lists)
    assert np.exp(found).sum() == pytest.approx(1)
    first = np.exp(scores[0, lists[0, 0]]) / np.exp(scores[0, :3]).sum()
    second = np.exp(scores[0, lists[0, 1]]) / (np.exp(scores[0, :3]).sum() - np.exp(scores[0, lists[0, 0]]))
    assert found[0] == pytest.approx(np.log(first * second))
    assert list_log_likelihood(scores, np.array([[3, 0]]))[0] == -np.inf
    assert list_log_likelihood(scores, np.array([[-1, -1]]))[0] == 0


def test_target_likelihood_is_the_mean_log_softmax():
    scores = np.log(np.array([[1.0, 2.0, 1.0], [1.0, 1.0, 1.0]]))
    found = target_log_likelihood(scores, Histories.from_rows([[0, 1], []]))
    assert found[0] == pytest.approx((np.log(1 / 4) + np.log(2 / 4)) / 2)
    assert np.isnan(found[1])
