"""What an analysis keeps of each arm: how many units, their mean, their variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsmith.errors import DataError


@dataclass(frozen=True)
class Moments:
    """Summary of one value per unit."""

    count: int
    """Units."""
    mean: float
    variance: float
    """Unbiased; 0 for fewer than two units."""

    @property
    def error_variance(self) -> float:
        """Variance of the mean."""
        return self.variance / self.count if self.count else float("inf")


def moments(values: np.ndarray) -> Moments:
    """Of one value per unit, float `[unit]`. Raises `DataError` when one is not finite."""
    known = _checked(values)
    if not len(known):
        return Moments(0, 0.0, 0.0)
    return Moments(len(known), float(known.mean()), float(known.var(ddof=1)) if len(known) > 1 else 0.0)


def ratio_moments(numerators: np.ndarray, denominators: np.ndarray) -> Moments:
    """Of a ratio of sums, such as clicks per answer, when the unit is the person; both float `[unit]`.

    The mean is sum over sum; the variance is that of the linearised ratio (delta method: Deng, Knoblich and Lu, 2018), so that a
    person's many answers do not count as many independent observations.
    """
    above, below = _checked(numerators), _checked(denominators)
    if above.shape != below.shape:
        raise DataError(f"{len(above)} numerators and {len(below)} denominators; give one of each per unit")
    if not below.sum() > 0:
        raise DataError("the denominators of a ratio sum to 0; leave out the arm, or wait for its first exposures")
    ratio = float(above.sum() / below.sum())
    linear = (above - ratio * below) / below.mean()
    return Moments(len(above), ratio, float(linear.var(ddof=1)) if len(above) > 1 else 0.0)


def _checked(values: np.ndarray) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise DataError(f"outcomes of shape {array.shape}; give one number per unit")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise DataError(f"the outcome of unit {bad[0]} is not finite; give numbers, 0 where nothing happened")
    return array
