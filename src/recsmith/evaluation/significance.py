"""Could the difference be chance? Paired bootstrap intervals, sign-flip tests, corrections for many comparisons, effects and power.

Everything works on one value per case and system, as `Evaluation.per_case` holds them. Resampling is vectorised and exact in law: equal
values are drawn together (multinomial counts for the bootstrap, binomial counts for the signs), so that metrics with few distinct
values cost next to nothing, and the rest is drawn in blocks of fixed memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from recsmith.errors import DataError, UserError
from recsmith.seeding import generator

RESAMPLES = 10_000
"""Draws of a bootstrap or a permutation test unless asked otherwise."""
_BLOCK = 500_000
_GROUPING_PAYS = 8
"""Drawing a count costs about this many times what drawing one case costs."""

Verdict = Literal["higher", "lower", "no difference shown", "identical"]


@dataclass(frozen=True)
class Interval:
    """Where a mean lies, at confidence `level`."""

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class PairedComparison:
    """A system against a baseline on the same cases."""

    pairs: int
    """Cases that both systems have a value for."""
    baseline: float
    """Mean of the baseline over the pairs."""
    value: float
    """Mean of the system over the pairs."""
    interval: Interval
    """Of the difference, for this comparison alone."""
    p_value: float
    """Two-sided sign-flip test, for this comparison alone."""
    adjusted_p: float
    """Corrected by Holm for all comparisons made together."""
    effect_size: float
    """Standardised mean difference of the pairs; nan when all differences are equal."""
    detectable: float
    """Smallest true difference that these pairs would have shown with power .8, at the level that Holm leaves for the first rejection;
    nan for a single pair and for equal differences."""
    alpha: float
    """Level of the verdict."""

    @property
    def difference(self) -> float:
        """The system's mean minus the baseline's."""
        return self.value - self.baseline

    @property
    def verdict(self) -> Verdict:
        """`higher` and `lower` stand for a difference that was shown; which of them is good depends on the metric."""
        if self.adjusted_p <= self.alpha:
            return "higher" if self.difference > 0 else "lower"
        return "identical" if self.difference == self.interval.low == self.interval.high == 0 else "no difference shown"

    def sentence(self) -> str:
        """The verdict in words; a result without difference says what it could have seen."""
        if self.verdict == "identical":
            return f"no difference shown: the same value in all {self.pairs:,} cases"
        if self.verdict != "no difference shown":
            return f"{self.verdict} (adjusted p = {self.adjusted_p:.2g})"
        if np.isnan(self.detectable):
            return "no difference shown: too few cases to show any"
        return f"no difference shown; one of {self.detectable:.4f} or more would have been, four times in five"


def compare_with_baseline(
    baseline: np.ndarray,
    systems: Mapping[str, np.ndarray],
    *,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, PairedComparison]:
    """Each system against the baseline, all arrays float `[case]` over the same cases; p corrected by Holm over the systems.

    A case where either value is nan (undefined) is left out of that comparison. Raises `DataError` for arrays of different length,
    infinite values or no common case.
    """
    _check_share(alpha, "alpha")
    alone = {name: _compare(baseline, values, name, alpha, resamples, seed, len(systems)) for name, values in systems.items()}
    adjusted = holm([comparison.p_value for comparison in alone.values()])
    return {name: replace(alone[name], adjusted_p=float(p)) for name, p in zip(alone, adjusted, strict=True)}


def bootstrap_interval(values: np.ndarray, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Percentile bootstrap interval (Efron 1979) of the mean of `values`, float `[case]`; nan values are left out.

    For the paired interval of a difference give the differences. Raises `DataError` when no value is left or one is infinite.
    """
    _check_share(level, "level")
    _check_resamples(resamples)
    known = _finite(np.asarray(values, dtype=np.float64), "the values")
    means = np.concatenate(list(_resampled_means(known, resamples, generator(seed, "bootstrap"))))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)


def permutation_test(differences: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p of the paired sign-flip test that the differences, float `[case]`, are symmetric about 0 (Fisher 1935).

    Exact where all sign patterns number at most `resamples`; else (1 + draws at least as extreme) / (1 + draws), which keeps the
    nominal level for any number of draws. nan values are left out; 1 when no difference is left that is not 0.
    """
    _check_resamples(resamples)
    known = _finite(np.asarray(differences, dtype=np.float64), "the differences")
    sizes = np.abs(known[known != 0])
    if len(sizes) == 0:
        return 1.0
    extreme = abs(known.sum()) - 1e-9 * sizes.sum()  # sums of the same numbers in another order must count as equal
    if 2 ** min(len(sizes), 62) <= resamples:
        patterns = np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes)) & 1
        return float(np.mean(np.abs(patterns @ (2 * sizes) - sizes.sum()) >= extreme))
    drawn = _signed_sums(sizes, resamples, generator(seed, "sign flips"))
    count = sum(int(np.count_nonzero(np.abs(block) >= extreme)) for block in drawn)
    return (1 + count) / (1 + resamples)


def group_permutation_test(values: np.ndarray, groups: np.ndarray, *, resamples: int = 2_000, seed: int = 0) -> float:
    """p of the permutation test that the groups of an unpaired `values`, float `[case]`, have one mean (Pitman 1937).

    `groups` holds a number per case, int64 `[case]`; the statistic is the variance between groups (that of an analysis of variance). nan
    values are left out; 1 for a single group.
    """
    _check_resamples(resamples)
    known = ~np.isnan(values)
    order = np.argsort(groups[known], kind="stable")
    numbers, ordered = groups[known][order], _finite(values[known][order], "the values")
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    if len(starts) < 2 or np.ptp(ordered) == 0:
        return 1.0
    sizes = np.diff(np.append(starts, len(ordered)))
    centred = ordered - ordered.mean()

    def between(permuted: np.ndarray) -> float:
        return float((np.add.reduceat(permuted, starts) ** 2 / sizes).sum())

    random, observed = generator(seed, "groups"), between(centred) * (1 - 1e-9)
    count = sum(between(random.permutation(centred)) >= observed for _ in range(resamples))
    return (1 + count) / (1 + resamples)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjusted p, `[comparison]`: rejecting those ≤ α errs anywhere in the family with probability at most α (Holm 1979)."""
    p = _probabilities(p_values)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return _back_in_place(np.minimum(steps, 1.0), order)


def benjamini_hochberg(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjusted p, `[comparison]`: among those ≤ q at most a share q is expected to be false (Benjamini and Hochberg 1995)."""
    p = _probabilities(p_values)
    order = np.argsort(p, kind="stable")[::-1]
    steps = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    return _back_in_place(steps, order)


def effect_size(differences: np.ndarray) -> float:
    """Mean of the paired differences over their standard deviation; nan where they do not vary (or there is only one)."""
    known = _finite(np.asarray(differences, dtype=np.float64), "the differences")
    spread = _spread(known)
    return float(known.mean() / spread) if spread > 0 else float("nan")


def detectable_effect(differences: np.ndarray, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true mean difference that a two-sided test of level `alpha` finds with probability `power`, given the pairs' spread.

    By the normal approximation, (z of 1 - α/2 + z of power) x standard error; nan for a single pair or
    differences that do not vary, which tell nothing of the spread.
    """
    _check_share(alpha, "alpha")
    _check_share(power, "power")
    known = _finite(np.asarray(differences, dtype=np.float64), "the differences")
    normal = NormalDist()
    z = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)
    spread = _spread(known)
    return z * spread / len(known) ** 0.5 if spread > 0 else float("nan")


def detectable_gap(first: np.ndarray, second: np.ndarray, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true difference between the means of two independent groups that a test of level `alpha` finds with that `power`.

    By the normal approximation with each group's own spread (Welch); nan for groups of one and for values that do not vary.
    """
    _check_share(alpha, "alpha")
    _check_share(power, "power")
    known = [_finite(np.asarray(values, dtype=np.float64), "the values") for values in (first, second)]
    error = sum(_spread(values) ** 2 / len(values) for values in known) ** 0.5
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * error if error > 0 else float("nan")


def _compare(
    baseline: np.ndarray, values: np.ndarray, name: str, alpha: float, resamples: int, seed: int, comparisons: int
) -> PairedComparison:
    if baseline.ndim != 1 or baseline.shape != values.shape:
        raise DataError(f"`{name}` has values of shape {values.shape}, the baseline {baseline.shape}; give one value per case, same cases")
    both = ~(np.isnan(baseline) | np.isnan(values))
    if not both.any():
        raise DataError(f"`{name}` and the baseline have no case in common for which both have a value; nothing can be compared")
    first, second = _finite(baseline[both], "the baseline"), _finite(values[both], f"`{name}`")
    differences = second - first
    p_value = permutation_test(differences, resamples=resamples, seed=seed)
    return PairedComparison(
        pairs=len(differences),
        baseline=float(first.mean()),
        value=float(second.mean()),
        interval=bootstrap_interval(differences, level=1 - alpha, resamples=resamples, seed=seed),
        p_value=p_value,
        adjusted_p=p_value,
        effect_size=effect_size(differences),
        detectable=detectable_effect(differences, alpha=alpha / comparisons),
        alpha=alpha,
    )


def _resampled_means(values: np.ndarray, resamples: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) * _GROUPING_PAYS < len(values):
        for size in _blocks(resamples, len(distinct)):
            yield random.multinomial(len(values), counts / len(values), size=size) @ distinct / len(values)
        return
    for size in _blocks(resamples, len(values)):
        yield values[random.integers(0, len(values), size=(size, len(values)), dtype=np.int32)].mean(axis=1)


def _signed_sums(sizes: np.ndarray, resamples: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Sums of `sizes` under random signs, in blocks that together have `resamples` entries."""
    distinct, counts = np.unique(sizes, return_counts=True)
    total = sizes.sum()
    if len(distinct) * _GROUPING_PAYS < len(sizes):
        for size in _blocks(resamples, len(distinct)):
            yield 2 * (random.binomial(counts, 0.5, size=(size, len(distinct))) @ distinct) - total
        return
    for size in _blocks(resamples, len(sizes)):
        octets = random.integers(0, 256, size=(size, -(-len(sizes) // 8)), dtype=np.uint8)
        yield 2 * (np.unpackbits(octets, axis=1, count=len(sizes)) @ sizes) - total


def _blocks(resamples: int, width: int) -> Iterator[int]:
    rows = max(1, _BLOCK // width)
    for start in range(0, resamples, rows):
        yield min(rows, resamples - start)


def _spread(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _finite(values: np.ndarray, what: str) -> np.ndarray:
    known = values[~np.isnan(values)]
    if len(known) == 0:
        raise DataError(f"{what} hold no defined number; give at least one case with a value")
    if not np.isfinite(known).all():
        raise DataError(f"{what} hold an infinite number; give finite values, or nan where a case has none")
    return known


def _probabilities(values: Sequence[float] | np.ndarray) -> np.ndarray:
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise UserError(f"p-values {p.tolist()!r} do not work; give a list of numbers from 0 to 1")
    return p


def _back_in_place(ordered: np.ndarray, order: np.ndarray) -> np.ndarray:
    result = np.empty_like(ordered)
    result[order] = ordered
    return result


def _check_share(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise UserError(f"{name} = {value!r} does not work; give a number between 0 and 1, both excluded")


def _check_resamples(resamples: int) -> None:
    if resamples < 1:
        raise UserError(f"resamples = {resamples!r} does not work; give a whole number from 1, usually {RESAMPLES:,}")
