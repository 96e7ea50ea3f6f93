"""Are the arms as large as they should be? When not, something loses units, and no other figure of the experiment can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.special import gammaln
from scipy.stats import chi2

from recsmith.errors import DataError

ALARM = 0.001
"""A p-value below this is an alarm: far stricter than for effects, because it is looked at in every experiment."""
_CONCENTRATION = 1_000.0
"""How close to the planned shares the mixture expects them to be, in units: mismatches are found soonest at about as many units."""


@dataclass(frozen=True)
class SampleRatio:
    """Units per arm against the shares that were planned."""

    counts: dict[str, int]
    expected: dict[str, float]
    """Units expected in each arm."""
    p_value: float
    """Chi-square; valid for one look."""
    sequential_p: float
    """Valid at every look."""

    @property
    def alarm(self) -> bool:
        """Whether units go missing, by the test that holds at every look."""
        return self.sequential_p < ALARM


def sample_ratio_test(counts: Mapping[str, int], shares: Mapping[str, float]) -> SampleRatio:
    """Test the sizes of arms against their planned `shares`, which sum to 1 (Fabijan et al., 2019, on what a mismatch means).

    `sequential_p` is the inverse of the Bayes factor of a Dirichlet mixture around the planned shares (Lindon and Malek, 2022).
    Raises `DataError` when the arms of the two do not agree.
    """
    if set(counts) != set(shares):
        strange = ", ".join(f"`{name}`" for name in sorted(set(counts) ^ set(shares)))
        raise DataError(f"arms with counts and arms with shares differ in {strange}; give both for every arm, 0 for an empty one")
    units = sum(counts.values())
    expected = {name: share * units for name, share in shares.items()}
    if not units:
        return SampleRatio(dict(counts), expected, 1.0, 1.0)
    statistic = sum((counts[name] - expected[name]) ** 2 / expected[name] for name in shares)
    p_value = float(chi2.sf(statistic, len(shares) - 1))
    return SampleRatio(dict(counts), expected, p_value, min(1.0, math.exp(-_log_bayes_factor(counts, shares))))


def _log_bayes_factor(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Log of the probability of the counts' order under the mixture, over that under the planned shares."""
    units = sum(counts.values())
    mixture = gammaln(_CONCENTRATION) - gammaln(_CONCENTRATION + units)
    for name, share in shares.items():
        mixture += gammaln(_CONCENTRATION * share + counts[name]) - gammaln(_CONCENTRATION * share) - counts[name] * math.log(share)
    return float(mixture)
