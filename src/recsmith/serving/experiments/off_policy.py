"""What another policy would have brought, from the log of the one that ran: inverse propensities, normalised, and doubly robust."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from recsmith.errors import DataError, UserError
from recsmith.serving.experiments.fixed_horizon import check_alpha

Method = Literal["IPS", "SNIPS", "DR"]
_SUSPICIOUS = 4.0


@dataclass(frozen=True)
class LoggedActions:
    """Answers that were served: one row each, an answer being one item or a whole slate."""

    rewards: np.ndarray
    """What came of it, float64 `[row]`."""
    logged: np.ndarray
    """Probability with which the served policy chose this answer, in (0, 1], float64 `[row]`."""
    target: np.ndarray
    """Probability with which the policy in question would have, in [0, 1], float64 `[row]`."""
    units: np.ndarray | None = None
    """Whom the row belongs to, `[row]`: rows of one person are not independent, and intervals take account of it."""

    def __post_init__(self) -> None:
        for name, low in (("rewards", -math.inf), ("logged", 0.0), ("target", 0.0)):
            array = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, array)
            if array.shape != (len(self.rewards),) or not np.isfinite(array).all():
                raise DataError(f"`{name}` of shape {array.shape}; give one finite number per row, as many as rewards")
            high = math.inf if name == "rewards" else 1 + 1e-9
            if len(array) and (array.min() < low or array.max() > high):
                raise DataError(f"`{name}` holds {array.min():g} … {array.max():g}; probabilities are from 0 to 1")
        if len(self.rewards) < 2:
            raise DataError(f"{len(self.rewards)} logged rows are too few to estimate anything; log at least two")
        if (self.logged == 0).any():
            row = int(np.flatnonzero(self.logged == 0)[0])
            raise DataError(f"row {row} was served with probability 0, which cannot be; log the propensity of what was really shown")
        if self.units is not None and np.shape(self.units) != (len(self.rewards),):
            raise DataError(f"units of shape {np.shape(self.units)} for {len(self.rewards)} rows; give one per row")


@dataclass(frozen=True)
class Estimate:
    """The mean reward of a policy that did not run."""

    method: Method
    value: float
    low: float
    high: float
    standard_error: float
    level: float
    """Of the interval `low` … `high`."""
    rows: int
    effective_rows: float
    """How many rows the weighted ones are worth: (sum of weights)² / sum of squares (Kish, 1965)."""
    mean_weight: float
    """1 in expectation when the propensities are right and cover what the policy would show."""
    largest_weight: float
    clipped_share: float
    """Share of rows whose weight was cut, which biases the estimate towards the served policy's rows."""
    warnings: tuple[str, ...]
    """What speaks against trusting the figure, in words."""


def ips(log: LoggedActions, *, clip: float | None = None, alpha: float = 0.05) -> Estimate:
    """Inverse propensity scoring (Horvitz and Thompson, 1952): unbiased without `clip`, of large variance when policies differ much."""
    weights, raw = _weights(log, clip)
    terms = weights * log.rewards
    return _estimate("IPS", float(terms.mean()), terms - terms.mean(), log, (weights, raw), alpha)


def snips(log: LoggedActions, *, clip: float | None = None, alpha: float = 0.05) -> Estimate:
    """Self-normalised inverse propensity scoring (Swaminathan and Joachims, 2015): IPS over the mean weight.

    Slightly biased (the bias falls as 1 / rows), of smaller variance, and indifferent to a shift of all rewards. The interval comes from
    the linearised ratio. Raises `DataError` when the policy would have shown nothing of what was served.
    """
    weights, raw = _weights(log, clip)
    if not weights.sum() > 0:
        raise DataError("the policy in question would never have shown any logged answer; explore more, or ask about a policy nearer by")
    value = float((weights * log.rewards).sum() / weights.sum())
    return _estimate("SNIPS", value, weights * (log.rewards - value) / weights.mean(), log, (weights, raw), alpha)


def doubly_robust(
    log: LoggedActions, predicted: np.ndarray, predicted_target: np.ndarray, *, clip: float | None = None, alpha: float = 0.05
) -> Estimate:
    """Doubly robust (Dudík, Langford and Li, 2011): a reward model's answer, corrected by what it got wrong on the log.

    `predicted` `[row]`: the model's reward of the served answer; `predicted_target` `[row]`: its mean reward under the policy in
    question. Unbiased when the propensities are right, whatever the model, if the model did not learn from these very rows
    (fit it on others, or crosswise); the better it is, the smaller the variance.
    """
    served, other = np.asarray(predicted, dtype=np.float64), np.asarray(predicted_target, dtype=np.float64)
    for name, array in (("predicted", served), ("predicted_target", other)):
        if array.shape != log.rewards.shape or not np.isfinite(array).all():
            raise DataError(f"`{name}` of shape {array.shape}; give one finite number for each of the {len(log.rewards)} rows")
    weights, raw = _weights(log, clip)
    terms = other + weights * (log.rewards - served)
    return _estimate("DR", float(terms.mean()), terms - terms.mean(), log, (weights, raw), alpha)


def _weights(log: LoggedActions, clip: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Used and true weights, `[row]`."""
    if clip is not None and not clip > 0:
        raise UserError(f"clip = {clip!r} does not work; give the largest weight allowed, a number above 0, or None")
    raw = log.target / log.logged
    return raw if clip is None else np.minimum(raw, clip), raw


def _estimate(
    method: Method, value: float, influence: np.ndarray, log: LoggedActions, weights: tuple[np.ndarray, np.ndarray], alpha: float
) -> Estimate:
    check_alpha(alpha)
    used, raw = weights
    error = _standard_error(influence, log.units)
    half = NormalDist().inv_cdf(1 - alpha / 2) * error
    squares = float((used**2).sum())
    clipped = float((used < raw).mean())
    effective = float(used.sum()) ** 2 / squares if squares else 0.0
    return Estimate(
        method=method,
        value=value,
        low=value - half,
        high=value + half,
        standard_error=error,
        level=1 - alpha,
        rows=len(raw),
        effective_rows=effective,
        mean_weight=float(raw.mean()),
        largest_weight=float(used.max()),
        clipped_share=clipped,
        warnings=tuple(_warnings(raw, log.units, effective, clipped)),
    )


def _standard_error(influence: np.ndarray, units: np.ndarray | None) -> float:
    """Of the mean of terms whose deviations are `influence`; sums per unit first where rows share one."""
    if units is not None:
        _, place = np.unique(np.asarray(units), return_inverse=True)
        sums = np.bincount(place, weights=influence)
    else:
        sums = influence
    if len(sums) < 2:
        raise DataError("all rows belong to one unit, so nothing can be said about the error; log at least two")
    correction = len(sums) / (len(sums) - 1)
    return math.sqrt(correction * float((sums**2).sum())) / len(influence)


def _warnings(weights: np.ndarray, units: np.ndarray | None, effective: float, clipped: float) -> list[str]:
    found = []
    mean, error = float(weights.mean()), _standard_error(weights - weights.mean(), units)
    if abs(mean - 1) > _SUSPICIOUS * error:
        found.append(
            f"the mean weight is {mean:.3g} instead of 1: propensities are wrong, or the policy shows what the served one never did"
        )
    if effective < 100:
        found.append(f"the rows are worth only {effective:.0f} independent ones; the interval may be too narrow")
    if clipped:
        found.append(f"{clipped:.1%} of the weights were cut, so the estimate leans towards the served policy")
    return found
