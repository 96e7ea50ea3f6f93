"""Level and power by simulation, exact values by hand, and the words of a result without difference."""

from __future__ import annotations

import itertools
from statistics import NormalDist

import numpy as np
import pytest

from recsmith.errors import DataError, UserError
from recsmith.evaluation.significance import (
    benjamini_hochberg,
    bootstrap_interval,
    compare_with_baseline,
    detectable_effect,
    effect_size,
    holm,
    permutation_test,
)

USERS = 1_000
CORRELATION = 0.3
"""Between the hits of two systems in the planted rise; the less, the harder."""


def paired_hits(random: np.random.Generator, first: float, second: float, users: int = USERS) -> tuple[np.ndarray, np.ndarray]:
    """Recall of one target per user for two systems, 0 or 1, correlated by `CORRELATION`."""
    both = first * second + CORRELATION * np.sqrt(first * (1 - first) * second * (1 - second))
    cell = random.choice(4, size=users, p=[both, first - both, second - both, 1 - first - second + both])
    return np.isin(cell, (0, 1)).astype(float), np.isin(cell, (0, 2)).astype(float)


def gains(random: np.random.Generator, users: int = 300) -> np.ndarray:
    """NDCG@10 of one target per user: mostly 0, else 1 / log2(rank + 1)."""
    ranks = random.integers(1, 60, size=users)
    return np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0.0)


# ---- level and power ------------------------------------------------------------------------------------------------------


def test_level_under_no_difference() -> None:
    random = np.random.default_rng(1)
    rejected = [permutation_test(gains(random) - gains(random), resamples=499, seed=trial) <= 0.05 for trial in range(4_000)]
    print(f"rejected without a difference: {np.mean(rejected):.4f}")
    assert 0.04 <= np.mean(rejected) <= 0.06


def test_power_for_a_rise_of_recall_from_20_to_25_percent() -> None:
    random = np.random.default_rng(2)
    pairs = [paired_hits(random, 0.20, 0.25) for _ in range(1_000)]
    found = np.mean([permutation_test(second - first, resamples=499, seed=trial) <= 0.05 for trial, (first, second) in enumerate(pairs)])
    correlation = np.mean([np.corrcoef(first, second)[0, 1] for first, second in pairs])
    print(f"power {found:.3f} at correlation {correlation:.3f}")
    assert correlation == pytest.approx(CORRELATION, abs=0.01)
    assert found >= 0.8


def test_the_detectable_effect_is_found_four_times_in_five() -> None:
    random = np.random.default_rng(3)
    effect = detectable_effect(random.normal(size=200_000) * 0.4) * (200_000 / 400) ** 0.5
    found = [permutation_test(random.normal(effect, 0.4, size=400), resamples=199, seed=trial) <= 0.05 for trial in range(1_000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize("continuous", [False, True])
def test_the_interval_covers_the_truth(continuous: bool) -> None:
    random = np.random.default_rng(4)
    draw = (lambda: random.normal(0.1, 1, size=200)) if continuous else (lambda: (random.random(200) < 0.3).astype(float))
    truth = 0.1 if continuous else 0.3
    intervals = [bootstrap_interval(draw(), resamples=300, seed=trial) for trial in range(400)]
    assert np.mean([interval.low <= truth <= interval.high for interval in intervals]) == pytest.approx(0.95, abs=0.03)


# ---- by hand --------------------------------------------------------------------------------------------------------------


def test_few_pairs_are_tested_exactly() -> None:
    differences = np.array([0.3, -0.1, 0.5, 0.2, 0.0, 0.4, np.nan])
    signs = itertools.product([-1, 1], repeat=5)
    sums = np.array([np.dot(pattern, [0.3, 0.1, 0.5, 0.2, 0.4]) for pattern in signs])
    assert permutation_test(differences) == pytest.approx(np.mean(np.abs(sums) >= 1.3 - 1e-9))
    assert permutation_test(np.ones(5)) == 2 / 2**5


@pytest.mark.parametrize("distinct", [3, 10_000])
def test_drawn_signs_agree_with_the_normal_approximation(distinct: int) -> None:
    random = np.random.default_rng(5)
    differences = random.integers(1, distinct + 1, size=800) * random.choice([-1.0, 1.0], size=800, p=[0.47, 0.53])
    z = differences.sum() / np.sqrt((differences**2).sum())
    assert permutation_test(differences) == pytest.approx(2 * (1 - NormalDist().cdf(abs(z))), abs=0.02)


@pytest.mark.parametrize("distinct", [4, 2_000])
def test_the_bootstrap_has_the_standard_error_of_the_mean(distinct: int) -> None:
    values = np.random.default_rng(6).integers(0, distinct, size=2_000).astype(float)
    interval = bootstrap_interval(values)
    assert interval.low < values.mean() < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(2_000), rel=0.05)


def test_corrections() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


def test_effects() -> None:
    differences = np.array([1.0, 2.0, 3.0, np.nan])
    assert effect_size(differences) == pytest.approx(2.0)
    assert detectable_effect(differences) == pytest.approx((1.959964 + 0.841621) / np.sqrt(3), rel=1e-5)
    assert np.isnan(effect_size(np.ones(4)))
    assert np.isnan(detectable_effect(np.ones(1)))
    assert np.isnan(detectable_effect(np.ones(4)))


# ---- against a baseline ---------------------------------------------------------------------------------------------------


def test_a_family_of_comparisons() -> None:
    random = np.random.default_rng(7)
    first, second = paired_hits(random, 0.20, 0.30)
    found = compare_with_baseline(first, {"up": second, "same": first.copy(), "down": np.zeros(USERS), "noise": random.permutation(first)})
    assert [comparison.verdict for comparison in found.values()] == ["higher", "identical", "lower", "no difference shown"]
    up, noise = found["up"], found["noise"]
    assert up.difference == pytest.approx(second.mean() - first.mean())
    assert up.interval.low < up.difference < up.interval.high
    assert up.adjusted_p >= 3 * up.p_value
    assert noise.interval.low < 0 < noise.interval.high
    assert noise.sentence() == f"no difference shown; one of {noise.detectable:.4f} or more would have been, four times in five"
    assert found["same"].sentence() == "no difference shown: the same value in all 1,000 cases"
    assert found["up"].sentence().startswith("higher (adjusted p = ")


def test_the_detectable_effect_pays_for_every_comparison() -> None:
    random = np.random.default_rng(8)
    first, second = random.random(50), random.random(50)
    alone = compare_with_baseline(first, {"a": second})["a"]
    among = compare_with_baseline(first, {"a": second, "b": second})["a"]
    assert among.detectable > alone.detectable == pytest.approx(detectable_effect(second - first))


def test_the_same_seed_gives_the_same_result_and_another_hardly_differs() -> None:
    random = np.random.default_rng(9)
    first, second = random.random(60), random.random(60)
    runs = [compare_with_baseline(first, {"a": second}, seed=seed)["a"] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]
    assert runs[0].p_value == pytest.approx(runs[2].p_value, abs=0.03)


def test_undefined_cases_are_left_out_of_the_pair() -> None:
    found = compare_with_baseline(np.array([0.0, 1.0, np.nan, 0.0]), {"a": np.array([1.0, np.nan, 1.0, 1.0])})["a"]
    assert (found.pairs, found.baseline, found.value) == (2, 0.0, 1.0)


def test_a_single_case_shows_nothing() -> None:
    found = compare_with_baseline(np.zeros(1), {"a": np.ones(1)})["a"]
    assert (found.p_value, found.sentence()) == (1.0, "no difference shown: too few cases to show any")


@pytest.mark.parametrize(
    ("baseline", "values", "message"),
    [
        ([0.0, 1.0], [1.0], r"`a` has values of shape \(1,\), the baseline \(2,\); give one value per case"),
        ([np.nan, 1.0], [1.0, np.nan], "no case in common"),
        ([0.0, 1.0], [np.inf, 1.0], "`a` hold an infinite number"),
    ],
)
def test_arrays_that_do_not_fit(baseline: list[float], values: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        compare_with_baseline(np.array(baseline), {"a": np.array(values)})


def test_settings_that_do_not_work() -> None:
    with pytest.raises(UserError, match=r"level = 1\.5 does not work"):
        bootstrap_interval(np.ones(3), level=1.5)
    with pytest.raises(UserError, match="resamples = 0 does not work"):
        permutation_test(np.ones(3), resamples=0)
    with pytest.raises(UserError, match="numbers from 0 to 1"):
        holm([0.1, 1.2])
    with pytest.raises(DataError, match="hold no defined number"):
        effect_size(np.array([np.nan]))
