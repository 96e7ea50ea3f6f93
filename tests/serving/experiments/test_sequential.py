"""Peeking at every look keeps the level; the fixed test does not; and the effect is found all the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from recsmith.errors import DataError, UserError
from recsmith.serving.experiments import Moments, carried, fixed_horizon_test, moments, ratio_moments, sequential_test, units_needed
from recsmith.serving.experiments.sequential import LEAST_UNITS, evidence, half_width

ALPHA = 0.05
REPEATS, UNITS, STEP = 1_200, 3_000, 10
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

OUTCOMES: dict[str, Draw] = {
    "normal": lambda random, shape: random.standard_normal(shape, dtype=np.float32),
    "clicks, one in ten": lambda random, shape: (random.random(shape, dtype=np.float32) < 0.1).astype(np.float32),
    "money, skewed": lambda random, shape: random.standard_exponential(shape, dtype=np.float32) ** 1.5,
}


def looks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and its variance after every `STEP` units, from the first look that is allowed on, each `[repeat, look]`."""
    counts = np.arange(STEP, UNITS + 1, STEP)
    parts = values.reshape(len(values), -1, STEP)
    total, squares = (np.cumsum((parts**power).sum(axis=2, dtype=np.float64), axis=1) for power in (1, 2))
    mean = total / counts
    variance = (squares / counts - mean**2) * counts / (counts - 1)
    allowed = counts >= LEAST_UNITS
    return mean[:, allowed], (variance / counts)[:, allowed]


def paths(draw: Draw, effect: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Difference, its variance and units of both arms at each look."""
    random = np.random.default_rng(5)
    (first, first_error), (second, second_error) = (looks(draw(random, (REPEATS, UNITS))) for _ in range(2))
    counts = np.arange(STEP, UNITS + 1, STEP)
    return second - first + effect, first_error + second_error, 2 * counts[counts >= LEAST_UNITS]


@pytest.mark.parametrize("name", OUTCOMES)
def test_peeking_at_every_look_keeps_the_level(name: str) -> None:
    difference, variance, units = paths(OUTCOMES[name])
    found = evidence(difference, variance, units, planned=2 * UNITS, alpha=ALPHA)
    ever = np.mean((found >= np.log(1 / ALPHA)).any(axis=1))
    outside = np.abs(difference) > half_width(variance, units, planned=2 * UNITS, alpha=ALPHA)
    peeking_at_the_fixed_test = np.mean((np.abs(difference) > 1.96 * np.sqrt(variance)).any(axis=1))
    print(f"{name}: sequential {ever:.4f}, fixed {peeking_at_the_fixed_test:.4f}")
    assert ever <= ALPHA
    assert np.array_equal(outside.any(axis=1), (found > np.log(1 / ALPHA)).any(axis=1))
    assert peeking_at_the_fixed_test > 3 * ALPHA


def test_intervals_hold_the_effect_at_all_looks_at_once_and_find_it() -> None:
    effect = 0.12
    difference, variance, units = paths(OUTCOMES["normal"], effect)
    half = half_width(variance, units, planned=2 * UNITS, alpha=ALPHA)
    assert np.mean((np.abs(difference - effect) <= half).all(axis=1)) >= 1 - ALPHA
    found = evidence(difference, variance, units, planned=2 * UNITS, alpha=ALPHA) >= np.log(1 / ALPHA)
    stops = units[found.argmax(axis=1)][found.any(axis=1)]
    print(f"found in {found.any(axis=1).mean():.3f}, after {np.mean(stops):,.0f} of {2 * UNITS:,} units on average")
    assert found.any(axis=1).mean() >= 0.9
    assert np.mean(stops) < 0.6 * 2 * UNITS


def test_the_test_is_the_formula() -> None:
    control, arm = Moments(1_000, 1.0, 4.0), Moments(3_000, 1.3, 6.0)
    test = sequential_test(control, arm, planned=5_000)
    variance = 4 / 1_000 + 6 / 3_000
    assert test.high - test.difference == pytest.approx(half_width(variance, 4_000, planned=5_000, alpha=0.05))
    assert test.p_value == pytest.approx(np.exp(-evidence(0.3, variance, 4_000, planned=5_000, alpha=0.05)))
    assert (test.p_value <= 0.05) == (test.low > 0)


@pytest.mark.parametrize("planned", [500, 4_000, 40_000])
def test_the_interval_is_tightest_for_its_size_where_planned(planned: int) -> None:
    others = [half_width(1.0, planned, planned=other, alpha=ALPHA) for other in (planned // 3, 3 * planned)]
    assert half_width(1.0, planned, planned=planned, alpha=ALPHA) < min(others)


def test_nothing_is_said_too_early_or_without_variance() -> None:
    early = sequential_test(Moments(50, 0.0, 1.0), Moments(5_000, 9.0, 1.0), planned=1_000)
    assert (early.p_value, early.low, early.high) == (1.0, -np.inf, np.inf)
    still = sequential_test(Moments(500, 0.0, 0.0), Moments(500, 0.0, 0.0), planned=1_000)
    assert still.p_value == 1.0


def test_looks_are_carried_on() -> None:
    first = sequential_test(Moments(1_000, 0.0, 1.0), Moments(1_000, 0.3, 1.0), planned=2_000)
    later = sequential_test(Moments(1_500, 0.1, 1.0), Moments(1_500, 0.2, 1.0), planned=2_000)
    both = carried(first, later)
    assert both.p_value == first.p_value < later.p_value
    assert (both.low, both.high) == (max(first.low, later.low), min(first.high, later.high))
    assert carried(None, first) is first
    moved = sequential_test(Moments(90_000, 0.0, 1.0), Moments(90_000, -0.5, 1.0), planned=2_000)
    assert carried(first, moved).low == moved.low
    with pytest.raises(UserError, match=r"levels 0\.95 and 0\.9 cannot be joined"):
        carried(first, sequential_test(Moments(1_500, 0.1, 1.0), Moments(1_500, 0.2, 1.0), planned=2_000, alpha=0.1))


# ---- fixed horizon ----------------------------------------------------------------------------------------------------


def test_welch_by_an_independent_hand() -> None:
    from scipy.stats import ttest_ind

    random = np.random.default_rng(0)
    first, second = random.normal(0, 1, 30), random.normal(0.5, 3, 50)
    test = fixed_horizon_test(moments(first), moments(second))
    other = ttest_ind(second, first, equal_var=False)
    interval = other.confidence_interval()
    assert (test.p_value, test.low, test.high) == pytest.approx((other.pvalue, interval.low, interval.high))


def test_level_and_power_of_one_look() -> None:
    needed = units_needed(0.3, 1.0)
    random = np.random.default_rng(1)

    def share(effect: float) -> float:
        pairs = random.standard_normal((300, 2, needed))
        return float(np.mean([fixed_horizon_test(moments(a), moments(b + effect)).p_value <= ALPHA for a, b in pairs]))

    assert share(0.0) == pytest.approx(ALPHA, abs=0.035)
    assert share(0.3) == pytest.approx(0.8, abs=0.08)


def test_a_ratio_counts_people_not_answers() -> None:
    """People differ in taste and in how much they use: treating answers as independent would call noise an effect."""
    random = np.random.default_rng(2)
    answers = random.geometric(0.05, (400, 2, 300))
    clicks = random.binomial(answers, random.beta(1, 9, answers.shape))
    wrong = []
    for (first, second), (shown, others) in zip(clicks, answers, strict=True):
        wrong.append(fixed_horizon_test(ratio_moments(first, shown), ratio_moments(second, others)).p_value <= ALPHA)
    assert np.mean(wrong) == pytest.approx(ALPHA, abs=0.035)
    one = ratio_moments(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    assert (one.mean, one.variance) == (1.0, pytest.approx(0.5))


def test_constant_arms() -> None:
    assert fixed_horizon_test(Moments(5, 1.0, 0.0), Moments(5, 1.0, 0.0)).p_value == 1
    assert fixed_horizon_test(Moments(5, 1.0, 0.0), Moments(5, 2.0, 0.0)).p_value == 0


def test_mistakes() -> None:
    with pytest.raises(UserError, match="arms of 1 and 9 units cannot be compared"):
        fixed_horizon_test(Moments(1, 0.0, 0.0), Moments(9, 0.0, 1.0))
    with pytest.raises(UserError, match=r"alpha = 1\.5 does not work"):
        sequential_test(Moments(9, 0.0, 1.0), Moments(9, 0.0, 1.0), planned=10, alpha=1.5)
    with pytest.raises(UserError, match="planned = 0 units"):
        sequential_test(Moments(9, 0.0, 1.0), Moments(9, 0.0, 1.0), planned=0)
    with pytest.raises(UserError, match="an effect ≠ 0"):
        units_needed(0.0, 1.0)
    with pytest.raises(DataError, match="the outcome of unit 1 is not finite"):
        moments(np.array([0.0, np.nan]))
    with pytest.raises(DataError, match="denominators of a ratio sum to 0"):
        ratio_moments(np.zeros(3), np.zeros(3))
