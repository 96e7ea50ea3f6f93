"""One look at the end: valid when the number of units was fixed before the start, and only then."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from scipy.stats import t as student

from recsmith.errors import UserError
from recsmith.serving.experiments.summaries import Moments


@dataclass(frozen=True)
class Difference:
    """An arm's mean minus the control's."""

    difference: float
    low: float
    high: float
    p_value: float
    """Two-sided."""
    level: float
    """Of the interval `low` … `high`."""


def fixed_horizon_test(control: Moments, arm: Moments, *, alpha: float = 0.05) -> Difference:
    """Welch's test (1947): two-sided p and interval of the difference, the arms' variances unequal.

    Looking again and again and stopping at the first p ≤ alpha errs far more often than alpha: use `sequential_test` for that.
    Two arms without any variance give p = 1 when they are equal, else p = 0. Raises `UserError` for fewer than two units in an arm.
    """
    check_alpha(alpha)
    if min(control.count, arm.count) < 2:
        raise UserError(f"arms of {control.count} and {arm.count} units cannot be compared; wait for at least two in each")
    difference = arm.mean - control.mean
    variance = control.error_variance + arm.error_variance
    if variance == 0:
        return Difference(difference, difference, difference, float(difference == 0), 1 - alpha)
    freedom = variance**2 / sum(one.error_variance**2 / (one.count - 1) for one in (control, arm))
    half = float(student.ppf(1 - alpha / 2, freedom)) * math.sqrt(variance)
    p_value = 2 * float(student.sf(abs(difference) / math.sqrt(variance), freedom))
    return Difference(difference, difference - half, difference + half, p_value, 1 - alpha)


def units_needed(effect: float, variance: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Units per arm that show a true difference of `effect` with probability `power`, by the normal approximation.

    `variance` is that of one unit's outcome. For the sequential analysis give this number, over both arms, as `planned`; it takes some
    more units than the fixed one when the effect is no larger than planned, and fewer when it is.
    """
    check_alpha(alpha)
    if not 0 < power < 1:
        raise UserError(f"power = {power!r} does not work; give a number between 0 and 1, both excluded")
    if effect == 0 or not math.isfinite(effect) or not variance > 0:
        raise UserError(f"no number of units shows an effect of {effect!r} at variance {variance!r}; give an effect ≠ 0, a variance > 0")
    normal = NormalDist()
    z = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)
    return math.ceil(2 * variance * (z / effect) ** 2)


def check_alpha(alpha: float) -> None:
    """Raises `UserError` unless 0 < alpha < 1."""
    if not 0 < alpha < 1:
        raise UserError(f"alpha = {alpha!r} does not work; give a number between 0 and 1, both excluded")
