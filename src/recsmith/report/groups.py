"""People in groups, by what they did and by what is known about them, and the metric of every system in each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsmith.background import Background
from recsmith.evaluation.significance import bootstrap_interval
from recsmith.grouping import ACTIVITY, TASTE, Labels, by_activity, by_attribute, by_taste

MOST_GROUPS = 12
"""An attribute with more values than this is no grouping."""
SMALLEST = 2
"""Groups with fewer people are left out: one person has no interval, and could be recognised."""


@dataclass(frozen=True)
class GroupFigure:
    """Mean of a metric in a group, with its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """Some of the people."""

    label: str
    cases: int
    figures: tuple[GroupFigure, ...]
    """One per system."""


@dataclass(frozen=True)
class Grouping:
    """One way to put people into groups."""

    name: str
    groups: tuple[Group, ...]
    left_out: int
    """Cases in no group: nothing is known about them, or their group is too small."""


def groupings(background: Background, values: Sequence[np.ndarray], *, resamples: int, seed: int) -> list[Grouping]:
    """By length of history, by taste for popular items, and by every attribute of users with few values; `values` per system, `[case]`."""
    labels = {ACTIVITY: by_activity(background), TASTE: by_taste(background)}
    for column in () if background.users is None else background.users.columns:
        found = None if column == "user_id" else by_attribute(background, column)
        if found is not None and 2 <= len(found.order) <= MOST_GROUPS:
            labels[column.replace("_", " ")] = found
    made = [group_figures(name, found, values, resamples=resamples, seed=seed) for name, found in labels.items()]
    return [grouping for grouping in made if len(grouping.groups) > 1]


def group_figures(name: str, labels: Labels, values: Sequence[np.ndarray], *, resamples: int, seed: int) -> Grouping:
    """The mean of each system's `values`, `[case]`, in each group of `SMALLEST` people or more."""
    number = {label: place for place, label in enumerate(labels.order)}
    members = np.array([-1 if label is None else number[label] for label in labels.of_cases])
    groups, kept = [], 0
    for label, place in number.items():
        rows = np.flatnonzero(members == place)
        defined = [own[rows][~np.isnan(own[rows])] for own in values]
        if min(map(len, defined)) < SMALLEST:
            continue
        kept += len(rows)
        groups.append(Group(label, len(rows), tuple(_figure(own, resamples, seed) for own in defined)))
    return Grouping(name, tuple(groups), len(members) - kept)


def _figure(values: np.ndarray, resamples: int, seed: int) -> GroupFigure:
    interval = bootstrap_interval(values, resamples=resamples, seed=seed)
    return GroupFigure(float(values.mean()), interval.low, interval.high)
