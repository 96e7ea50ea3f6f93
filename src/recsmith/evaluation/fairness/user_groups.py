"""Utility by group of people: means with intervals, the gap, the worst group, and whether the gap could be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsmith.errors import DataError, UserError
from recsmith.evaluation.as_json import json_ready
from recsmith.evaluation.significance import Interval, bootstrap_interval, detectable_gap, group_permutation_test


@dataclass(frozen=True)
class GroupRow:
    """One group."""

    group: str
    members: int
    """Cases with a value."""
    mean: float
    interval: Interval


@dataclass(frozen=True)
class GroupUtility:
    """A metric by group of people, best group first."""

    rows: tuple[GroupRow, ...]
    gap: float
    """Mean of the best group minus that of the worst."""
    ratio: float
    """Worst mean over best; nan when the best is 0."""
    p_value: float
    """Permutation test that all groups have one mean."""
    detectable: float
    """Smallest true gap between best and worst group that groups of this size and spread show with power .8 at level .05."""
    unknown: int
    """Cases of unknown group, left out."""

    @property
    def worst(self) -> str:
        """The group with the lowest mean."""
        return self.rows[-1].group

    def sentence(self) -> str:
        """One line for people; no difference shown is a result too."""
        best, worst = self.rows[0], self.rows[-1]
        words = f"{best.group} {best.mean:.4f}, {worst.group} {worst.mean:.4f}, gap {self.gap:.4f} (p = {self.p_value:.3g})"
        if self.p_value <= 0.05:
            return words
        return f"{words}: no difference shown; a gap of {self.detectable:.4f} or more would have been, four times in five"

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**json_ready(self), "worst": self.worst}


def group_utility(
    values: np.ndarray, groups: Sequence[str | None], *, smallest: int = 2, resamples: int = 2_000, seed: int = 0
) -> GroupUtility:
    """A metric's values, float `[case]`, compared between the groups of the cases; None is an unknown group and left out, like nan.

    With Recall as the metric this is equality of opportunity on the side of the people (Hardt et al. 2016: the same true-positive rate in
    every group). Raises `DataError` when the lengths differ, when fewer than two groups are left, and for a group with fewer than
    `smallest` members: a mean of one person says nothing about a group.
    """
    if smallest < 2:
        raise UserError(f"smallest = {smallest} does not work; a group needs at least 2 members to have a spread")
    if len(values) != len(groups):
        raise DataError(f"{len(groups)} groups for {len(values)} values; give one group per case, None where it is unknown")
    named = np.array([group is not None for group in groups], dtype=bool)
    kept = named & ~np.isnan(values)
    labels = np.array([str(group) for group, keep in zip(groups, kept, strict=True) if keep], dtype=object)
    names, numbers = np.unique(labels.astype(str), return_inverse=True)
    if len(names) < 2:
        found = f"only `{names[0]}`" if len(names) else "none"
        raise DataError(f"a comparison needs two groups and the cases have {found}; choose another attribute")
    sizes = np.bincount(numbers)
    if sizes.min() < smallest:
        small = names[int(sizes.argmin())]
        raise DataError(
            f"group `{small}` has {_members(int(sizes.min()))} with a value; a group needs at least {smallest}: merge it with another one, "
            "or give None as its group to leave it out"
        )
    known = values[kept].astype(np.float64)
    rows = [_row(str(name), known[numbers == place], resamples, seed) for place, name in enumerate(names)]
    order = sorted(range(len(rows)), key=lambda place: (-rows[place].mean, rows[place].group))
    best, worst = rows[order[0]], rows[order[-1]]
    return GroupUtility(
        rows=tuple(rows[place] for place in order),
        gap=best.mean - worst.mean,
        ratio=worst.mean / best.mean if best.mean else float("nan"),
        p_value=group_permutation_test(known, numbers, resamples=resamples, seed=seed),
        detectable=detectable_gap(known[numbers == order[0]], known[numbers == order[-1]]),
        unknown=int((~named).sum()),
    )


def _row(name: str, values: np.ndarray, resamples: int, seed: int) -> GroupRow:
    return GroupRow(name, len(values), float(values.mean()), bootstrap_interval(values, resamples=resamples, seed=seed))


def _members(count: int) -> str:
    return "one member" if count == 1 else f"{count} members"
