"""Fairness between single people: similar people fare alike, and nobody would rather have another person's list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recsmith.errors import DataError, UserError
from recsmith.evaluation.as_json import json_ready

_ROWS_AT_ONCE = 1_024


def consistency(values: np.ndarray, vectors: np.ndarray, *, neighbours: int = 5) -> float:
    """1 - mean |value of a person - mean value of the nearest people| (Zemel et al. 2013); 1 = similar people fare alike.

    `values`, float `[case]`, are a metric between 0 and 1 (nan is left out); `vectors`, float `[case, dim]`, say who is similar, by
    cosine. Raises `UserError` unless 1 ≤ neighbours < people with a value.
    """
    if len(values) != len(vectors):
        raise DataError(f"{len(vectors)} vectors for {len(values)} values; give one vector per case")
    known = ~np.isnan(values)
    if not 1 <= neighbours < known.sum():
        raise UserError(f"neighbours = {neighbours} does not work with {known.sum()} people; allowed: 1 to {max(known.sum() - 1, 0)}")
    outcome, people = values[known], vectors[known]
    norms = np.linalg.norm(people, axis=1, keepdims=True)
    units = people / np.where(norms > 0, norms, 1)
    differences = []
    for start in range(0, len(units), _ROWS_AT_ONCE):
        likeness = units[start : start + _ROWS_AT_ONCE] @ units.T
        likeness[np.arange(len(likeness)), start + np.arange(len(likeness))] = -np.inf
        nearest = np.argpartition(-likeness, neighbours - 1, axis=1)[:, :neighbours]
        differences.append(np.abs(outcome[start : start + _ROWS_AT_ONCE] - outcome[nearest].mean(axis=1)))
    return float(1 - np.concatenate(differences).mean())


@dataclass(frozen=True)
class Envy:
    """How much people would gain with the lists of others."""

    mean: float
    """Mean over people of the most that they would gain with the list of somebody else, 0 for those who would not."""
    envious: float
    """Share of the people who would gain more than `margin` with at least one other list."""
    margin: float

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return json_ready(self)


def envy(relevance: np.ndarray, lists: np.ndarray, *, margin: float = 0.05) -> Envy:
    """Envy between people, as in Do et al. (2022), by a believed relevance of every item to every person.

    `relevance`, float `[person, item]`, is what a list's item is worth to a person (0 where it must not be shown); `lists`, int64
    `[person, k]`. A list is worth Σ relevance / log2(rank + 1), over Σ 1 / log2(rank + 1). Every person is compared with every other: draw
    a sample of people first where there are many. Raises `DataError` when the shapes do not fit.
    """
    if len(relevance) != len(lists):
        raise DataError(f"relevance for {len(relevance)} people and lists for {len(lists)} do not fit; give one row of each per person")
    discount = 1.0 / np.log2(np.arange(2, lists.shape[1] + 2))
    padded = np.concatenate([relevance, np.zeros((len(relevance), 1))], axis=1)
    worth = np.stack([padded[:, row] @ discount for row in lists], axis=1) / discount.sum()
    gain = worth - np.diag(worth)[:, None]
    most = np.maximum(gain.max(axis=1), 0.0)
    return Envy(float(most.mean()), float((most > margin).mean()), margin)
