"""Exposure by group of items, such as their providers: who is shown, who is found by those that want it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.evaluation.as_json import json_ready
from recsmith.evaluation.exposure import gini
from recsmith.evaluation.relevance import members_of_rows


@dataclass(frozen=True)
class ItemGroupRow:
    """One group of items."""

    group: str
    items: int
    catalogue_share: float
    """Share of the catalogue's items."""
    training_share: float | None
    """Share of the training events; None when they were not given."""
    exposure_share: float
    """Share of the exposure, where a place at rank r counts 1 / log2(r + 1)."""
    recommended_rate: float
    """Probability that an item of the group stands in a list."""
    true_positive_rate: float | None
    """Share of the held-out items of the group that were in the list of the case that held them out; None without targets."""

    @property
    def parity(self) -> float:
        """Exposure share over catalogue share: 1 = shown as its size says."""
        return self.exposure_share / self.catalogue_share


@dataclass(frozen=True)
class ItemGroupExposure:
    """Exposure of all groups, the most under-shown (by parity) last."""

    rows: tuple[ItemGroupRow, ...]
    statistical_parity: float
    """RSP of Zhu et al. (2020): standard deviation over mean of the groups' recommended rates; 0 = equal."""
    equal_opportunity: float | None
    """REO of Zhu et al. (2020): the same of the true-positive rates; None without targets."""
    gini: float
    """Inequality of exposure between groups, each item of a group counted alike: Gini of the recommended rates."""

    @property
    def worst(self) -> str:
        """The group that is shown least for its size."""
        return self.rows[-1].group

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**json_ready(self), "worst": self.worst}


def item_group_exposure(
    items: np.ndarray,
    groups: Sequence[str | None],
    *,
    k: int,
    targets: Histories | None = None,
    popularity: np.ndarray | None = None,
) -> ItemGroupExposure:
    """Exposure in the first k of the lists `items`, int64 `[case, k]`, by the group of each item of the catalogue, `[item]`.

    None is an unknown group, left out of catalogue, exposure and targets. Exposure as in Singh and Joachims (2018); deviation from Zhu et
    al. (2020): items of the person's own history are not taken out of the rates. Raises `DataError` for fewer than two groups.
    """
    names, number = _numbered(groups)
    sizes = np.bincount(number[number >= 0], minlength=len(names))
    listed = items[:, :k]
    belongs = np.append(number, -1)[listed]
    weight = np.broadcast_to(1.0 / np.log2(np.arange(2, listed.shape[1] + 2)), listed.shape)
    exposure = np.bincount(belongs[belongs >= 0], weight[belongs >= 0], minlength=len(names))
    shown = np.bincount(belongs[belongs >= 0], minlength=len(names))
    if not shown.sum():
        raise DataError("no listed item has a known group; check that the groups are given in the order of the catalogue's items")
    rate = shown / (sizes * max(len(items), 1))
    found = None if targets is None else _true_positives(listed, targets, number, len(names))
    trained = None if popularity is None else np.bincount(number[number >= 0], popularity[number >= 0], minlength=len(names))
    rows = [
        ItemGroupRow(
            group=str(names[place]),
            items=int(sizes[place]),
            catalogue_share=float(sizes[place] / sizes.sum()),
            training_share=None if trained is None else float(trained[place] / trained.sum()),
            exposure_share=float(exposure[place] / exposure.sum()),
            recommended_rate=float(rate[place]),
            true_positive_rate=None if found is None else float(found[place]),
        )
        for place in range(len(names))
    ]
    rows.sort(key=lambda row: (-row.parity, row.group))
    return ItemGroupExposure(tuple(rows), _relative_spread(rate), None if found is None else _relative_spread(found), gini(rate))


def _numbered(groups: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    named = np.array([group is not None for group in groups], dtype=bool)
    names, numbers = np.unique([str(group) for group in groups if group is not None], return_inverse=True)
    if len(names) < 2:
        raise DataError(f"a comparison needs two groups of items and the catalogue has {len(names)}; choose another column")
    result = np.full(len(groups), -1, dtype=np.int64)
    result[named] = numbers
    return names, result


def _true_positives(listed: np.ndarray, targets: Histories, number: np.ndarray, groups: int) -> np.ndarray:
    """Share of each group's targets that the list of their case holds, float64 `[group]`; nan for groups without targets."""
    rows = Histories(listed.reshape(-1), np.arange(len(listed) + 1) * listed.shape[1])
    hit = members_of_rows(targets, rows, item_count=len(number))
    belongs = np.append(number, -1)[targets.values]
    wanted = np.bincount(belongs[belongs >= 0], minlength=groups)
    found = np.bincount(belongs[(belongs >= 0) & hit], minlength=groups)
    return np.divide(found, wanted, out=np.full(groups, np.nan), where=wanted > 0)


def _relative_spread(rates: np.ndarray) -> float:
    known = rates[~np.isnan(rates)]
    return float(known.std() / known.mean()) if len(known) and known.mean() > 0 else float("nan")
