"""Look as often as you like: p-values and intervals that hold at every look at once, and so at whatever moment somebody stops."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from recsmith.errors import UserError
from recsmith.serving.experiments.fixed_horizon import Difference, check_alpha
from recsmith.serving.experiments.summaries import Moments

Numbers = Any
"""A number, or an array with one per look."""

LEAST_UNITS = 200
"""Units per arm before the first verdict. The guarantee rests on means being near normal, which the first few are not."""


def sequential_test(control: Moments, arm: Moments, *, planned: int, alpha: float = 0.05, least_units: int = LEAST_UNITS) -> Difference:
    """Always-valid p and interval of the difference: over all looks, the chance of ever being wrong is at most `alpha`.

    The mixture sequential probability ratio test with a normal mixture (Robbins, 1970; for experiments Johari, Koomen, Pekelis and Walsh,
    2022), in the form of an asymptotic confidence sequence, with estimated variances (Waudby-Smith, Arbour, Sinha, Kennedy and
    Ramdas, 2024). `planned`: units over both arms at which the interval is to be tightest; it must be fixed before the start, and
    later looks stay valid. Asymptotic means: holds for means near normal, hence nothing is said (p = 1, an interval without ends)
    before each arm has `least_units`; for rare outcomes (fewer than about one in fifty) raise it.
    """
    check_alpha(alpha)
    if planned < 1:
        raise UserError(f"planned = {planned!r} units does not work; give the number of units, over both arms, that the experiment aims at")
    difference = arm.mean - control.mean
    variance = control.error_variance + arm.error_variance
    if min(control.count, arm.count) < max(2, least_units) or variance == 0:
        return Difference(difference, -math.inf, math.inf, 1.0, 1 - alpha)
    units = control.count + arm.count
    half = float(half_width(variance, units, planned=planned, alpha=alpha))
    p_value = math.exp(-max(0.0, float(evidence(difference, variance, units, planned=planned, alpha=alpha))))
    return Difference(difference, difference - half, difference + half, p_value, 1 - alpha)


def evidence(difference: Numbers, variance: Numbers, units: Numbers, *, planned: int, alpha: float) -> Numbers:
    """Log of the mixture's likelihood ratio against no difference, for an estimate, its variance and the units behind it."""
    ratio = units * mixing_rate(planned, alpha)
    return ratio / (1 + ratio) * difference**2 / (2 * variance) - np.log1p(ratio) / 2


def half_width(variance: Numbers, units: Numbers, *, planned: int, alpha: float) -> Numbers:
    """Half the interval: differences from the estimate for which the evidence stays below log(1 / alpha)."""
    ratio = units * mixing_rate(planned, alpha)
    return np.sqrt(variance * (1 + ratio) / ratio * (2 * np.log(1 / alpha) + np.log1p(ratio)))


def mixing_rate(planned: int, alpha: float) -> float:
    """Variance of the mixture, in units of a single observation's, that makes the interval tightest after `planned` observations."""
    spent = -2 * math.log(alpha)
    return (spent + math.log1p(spent)) / planned


def carried(before: Difference | None, now: Difference) -> Difference:
    """What may be said now, knowing an earlier look: the smaller p and the part that both intervals have in common.

    Valid because the guarantee covers all looks at once. Where the intervals have nothing in common the effect itself moved (or the
    guarantee failed, which happens with probability at most alpha): the present interval is kept.
    """
    if before is None:
        return now
    if before.level != now.level:
        raise UserError(f"looks at levels {before.level:g} and {now.level:g} cannot be joined; keep one alpha for the whole experiment")
    p_value = min(before.p_value, now.p_value)
    low, high = max(before.low, now.low), min(before.high, now.high)
    return replace(now, p_value=p_value) if low > high else replace(now, low=low, high=high, p_value=p_value)
