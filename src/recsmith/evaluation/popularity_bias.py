"""How popular the recommended items are in training: novelty, average popularity, share of the long tail, and for whom.

The value of a list is the mean over its items; lists without an item give nan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsmith.data import Histories
from recsmith.errors import DataError

HEAD_SHARE = 0.2
"""Share of the catalogue's items that counts as the head; the others are the long tail."""


def self_information(popularity: np.ndarray) -> np.ndarray:
    """Surprise of meeting an item: -log2(its share of all training events), in bits, float64 `[item]`.

    Vargas and Castells (2011) give it as novelty. An item without training events is taken as if it had one, to stay finite.
    """
    counts = np.maximum(popularity, 1.0)
    return np.log2(max(float(popularity.sum()), 1.0)) - np.log2(counts)


def long_tail(popularity: np.ndarray, *, head_share: float = HEAD_SHARE) -> np.ndarray:
    """Whether an item is outside the head, bool `[item]`.

    The head is the most popular `head_share` of the catalogue's *items* (rounded up, ties by the smaller index), items without
    training events included in the catalogue. Other authors take the items that make up a share of the *events*.
    """
    head = np.argsort(-popularity, kind="stable")[: math.ceil(head_share * len(popularity))]
    tail = np.ones(len(popularity), dtype=bool)
    tail[head] = False
    return tail


def list_means(items: np.ndarray, values: np.ndarray, ks: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Mean of the per-item `values` over the first k, for each k of `ks` (ascending); float64 `[case]`, nan for empty lists."""
    padded = np.append(values, 0.0)  # where index -1 finds nothing to add
    sums, counts, means, start = np.zeros(len(items)), np.zeros(len(items)), {}, 0
    for k in ks:
        part = items[:, start:k]
        sums = sums + padded[part].sum(axis=1)
        counts = counts + (part >= 0).sum(axis=1)
        means[k] = np.divide(sums, counts, out=np.full(len(items), np.nan), where=counts > 0)
        start = k
    return means


@dataclass(frozen=True)
class PopularityRow:
    """One step of the popularity curve: the catalogue from its most popular item on."""

    catalogue: float
    """Share of the catalogue's items so far."""
    training: float
    """Share of the training events that these items have."""
    recommended: float
    """Share of the places in lists that these items have."""


def popularity_curve(items: np.ndarray, popularity: np.ndarray, *, steps: int = 20) -> list[PopularityRow]:
    """How training events and places in lists, int64 `[case, k]`, pile up on popular items; `steps` + 1 rows from 0 to 1.

    A system that repeats the log lies on the training curve, one that follows popularity above it, a uniform one on the diagonal.
    Raises `DataError` when nothing is listed or there is no training event.
    """
    listed = np.bincount(items[items >= 0], minlength=len(popularity))
    if not listed.sum() or not popularity.sum():
        raise DataError("a popularity curve needs at least one listed item and one training event; give lists and training counts")
    order = np.argsort(-popularity, kind="stable")
    trained = np.concatenate([[0.0], np.cumsum(popularity[order]) / popularity.sum()])
    shown = np.concatenate([[0.0], np.cumsum(listed[order]) / listed.sum()])
    places = np.unique(np.round(np.linspace(0, len(popularity), steps + 1)).astype(np.int64))
    return [PopularityRow(float(place / len(popularity)), float(trained[place]), float(shown[place])) for place in places]


@dataclass(frozen=True)
class GroupPopularity:
    """How much more popular a group's lists are than what its people chose themselves."""

    group: str
    members: int
    profile: float
    """Mean over the group's people of the mean training events of the items in their history."""
    lists: float
    """The same of the items in their lists."""

    @property
    def lift(self) -> float:
        """Relative rise from profile to lists; 0 = lists as popular as the person's own choice."""
        return self.lists / self.profile - 1 if self.profile else float("nan")


def popularity_by_group(
    items: np.ndarray, histories: Histories, popularity: np.ndarray, groups: Sequence[str | None]
) -> list[GroupPopularity]:
    """Popularity lift by group of people (Abdollahpouri et al. 2019, group average popularity), groups in alphabetical order.

    `items` `[case, k]`, `histories` and `groups` describe the same cases; None is an unknown group and left out, like people without
    a list or a history. Raises `DataError` when the lengths differ.
    """
    if not len(items) == len(histories) == len(groups):
        raise DataError(f"{len(items)} lists, {len(histories)} histories and {len(groups)} groups do not fit; give one of each per case")
    padded = np.append(popularity.astype(np.float64), 0.0)
    listed = (items >= 0).sum(axis=1)
    known = histories.where(histories.values >= 0)
    defined = (listed > 0) & (known.lengths > 0)
    of_lists = padded[items].sum(axis=1) / np.maximum(listed, 1)
    of_profiles = np.bincount(known.rows, padded[known.values], minlength=len(known)) / np.maximum(known.lengths, 1)
    names = np.array([None if group is None else str(group) for group in groups], dtype=object)
    rows = []
    for name in sorted({name for name in names if name is not None}):
        members = defined & (names == name)
        if members.any():
            rows.append(GroupPopularity(name, int(members.sum()), float(of_profiles[members].mean()), float(of_lists[members].mean())))
    return rows
