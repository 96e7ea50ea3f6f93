"""What happens when people take what they are shown and the system learns from it, round after round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsmith.data import Cases, Histories, offsets_of
from recsmith.errors import DataError, UserError
from recsmith.evaluation.as_json import json_ready
from recsmith.evaluation.category_sets import CategorySets
from recsmith.evaluation.diversity import category_diversity
from recsmith.evaluation.exposure import coverage, exposure, gini
from recsmith.evaluation.relevance import Relevance
from recsmith.evaluation.surprise import category_unexpectedness
from recsmith.protocols import Answer, Progress
from recsmith.seeding import generator

if TYPE_CHECKING:
    from recsmith.data.world import Oracle

Fit = Callable[[Histories], Answer]
"""Learn from everybody's histories (row = user) and answer."""
Choose = Callable[[Cases, np.ndarray, np.random.Generator], np.ndarray]
"""Cases and lists, int64 `[case, k]` → place that each person takes, -1 for nothing, int64 `[case]`."""
Utility = Callable[[Cases, np.ndarray], np.ndarray]
"""Cases and lists → what the list is truly worth to the person, float `[case]`."""

_DAY = 86_400.0
_PAIRS = 2_000


@dataclass(frozen=True)
class RoundRow:
    """The lists of one round."""

    round: int
    """From 0: the lists of a system that learnt from the log alone."""
    coverage: float
    gini: float
    homogeneity: float
    """Mean Jaccard similarity of the lists of two people drawn at random (Chaney et al. 2018)."""
    diversity: float
    """Intra-list diversity by categories; nan without categories."""
    unexpectedness: float
    """Share of listed categories that the history before round 0 did not have; falls as a bubble closes; nan without categories."""
    utility: float
    """Mean true worth of the lists; nan when it was not given."""
    taken: float
    """Share of the people who took something."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return json_ready(self)


def feedback_rounds(
    fit: Fit,
    choose: Choose,
    histories: Histories,
    *,
    item_count: int,
    rounds: int = 5,
    k: int = 10,
    categories: Histories | None = None,
    utility: Utility | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[RoundRow]:
    """Fit, show everybody a list, let them choose, add it to their history a day later, and again; one row per round.

    The system is fitted anew in every round on all histories, those that it caused included. Raises `UserError` for no rounds or no k.
    """
    if rounds < 1 or not 1 <= k <= item_count:
        raise UserError(f"rounds = {rounds} and k = {k} do not work; give at least 1 round and a k from 1 to {item_count}")
    sets = None if categories is None else CategorySets.of(categories)
    random, start, now, rows = generator(seed, "feedback rounds"), histories, histories, []
    for number in range(rounds):
        cases = _everybody(now)
        items = fit(now)(cases, k).items
        if items.shape != (len(cases), k):
            raise DataError(f"the answer to {len(cases)} cases has shape {items.shape}; allowed: [{len(cases)}, {k}], padded with -1")
        places = choose(cases, items, random)
        rows.append(_row(number, cases, items, places, start, item_count, sets, utility, random))
        now = _taken(now, items, places)
        if progress is not None:
            progress("rounds of feedback", number + 1, rounds)
    return rows


def oracle_choice(oracle: Oracle) -> Choose:
    """People of the simulated world take one item of the list in proportion to its true probability; nothing where all have 0."""

    def choose(cases: Cases, items: np.ndarray, random: np.random.Generator) -> np.ndarray:
        weights = _true_probabilities(oracle, cases, items)
        cumulative = np.cumsum(weights, axis=1)
        place = (cumulative <= random.random((len(items), 1)) * cumulative[:, -1:]).sum(axis=1)
        return np.where(cumulative[:, -1] > 0, np.minimum(place, items.shape[1] - 1), -1)

    return choose


def oracle_utility(oracle: Oracle) -> Utility:
    """Probability that the person's next event in the simulated world would be one of the list."""
    return lambda cases, items: _true_probabilities(oracle, cases, items).sum(axis=1)


def _true_probabilities(oracle: Oracle, cases: Cases, items: np.ndarray) -> np.ndarray:
    scores = oracle.scores(cases.users, cases.histories)
    return np.where(items >= 0, np.take_along_axis(scores, np.maximum(items, 0), axis=1), 0.0).astype(np.float64)


def _row(
    number: int,
    cases: Cases,
    items: np.ndarray,
    places: np.ndarray,
    start: Histories,
    item_count: int,
    sets: CategorySets | None,
    utility: Utility | None,
    random: np.random.Generator,
) -> RoundRow:
    k = items.shape[1]
    counts = exposure(items, k, item_count=item_count)
    diverse = float("nan") if sets is None else _mean(category_diversity(items, sets, (k,))[k])
    fresh = float("nan") if sets is None else _mean(category_unexpectedness(items, sets, start, (k,))[k])
    worth = float("nan") if utility is None else float(utility(cases, items).mean())
    return RoundRow(
        number, coverage(counts), gini(counts), _homogeneity(items, item_count, random), diverse, fresh, worth, float((places >= 0).mean())
    )


def _homogeneity(items: np.ndarray, item_count: int, random: np.random.Generator) -> float:
    if len(items) < 2:
        return float("nan")
    first = random.integers(0, len(items), _PAIRS)
    other = (first + random.integers(1, len(items), _PAIRS)) % len(items)
    width = items.shape[1]
    lists = Histories(items[other].reshape(-1), np.arange(_PAIRS + 1) * width)
    common = Relevance.of(items[first], lists, item_count=item_count).hits.sum(axis=1)
    union = (items[first] >= 0).sum(axis=1) + (items[other] >= 0).sum(axis=1) - common
    return float(np.divide(common, union, out=np.ones(_PAIRS), where=union > 0).mean())


def _everybody(histories: Histories) -> Cases:
    return Cases(np.arange(len(histories)), histories, Histories.from_rows([[] for _ in range(len(histories))]))


def _taken(histories: Histories, items: np.ndarray, places: np.ndarray) -> Histories:
    """The histories with what was taken at their end, a day after the last event of all."""
    taken = places >= 0
    values = items[taken, places[taken]]
    more = Histories(values, offsets_of(taken.astype(np.int64)))
    if histories.times is not None:
        more = replace(more, times=np.full(len(values), histories.times.max(initial=0) + _DAY))
    if histories.weights is not None:
        more = replace(more, weights=np.ones(len(values), dtype=histories.weights.dtype))
    return histories.append(more)


def _mean(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
