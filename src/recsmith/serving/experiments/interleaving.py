"""Interleaving: one list made of two systems' lists, so that every person compares them, and far fewer people are needed than for arms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from scipy.special import betaln
from scipy.stats import binomtest

from recsmith.errors import DataError, UserError
from recsmith.serving.experiments.fixed_horizon import check_alpha

Winner = Literal["first", "second", "not yet"]


@dataclass(frozen=True)
class Interleaved:
    """A list to show, and who put each item there."""

    items: np.ndarray
    """int64 `[≤ k]`, best first, each once."""
    teams: np.ndarray
    """0 for the first system, 1 for the second, int64 `[≤ k]`."""


def team_draft(first: Sequence[int] | np.ndarray, second: Sequence[int] | np.ndarray, k: int, random: np.random.Generator) -> Interleaved:
    """Up to k items of two ranked lists, picked in turns like players for two teams (Radlinski, Kurup and Joachims, 2008).

    Each round a coin decides who picks first; a pick is the best item of the own list that is not yet there. When one list has nothing
    left, the other goes on alone. Entries of -1 end a list. Two systems with equal lists are equally likely to own every place.
    """
    if k < 1:
        raise UserError(f"k = {k} items cannot be shown; ask for at least 1")
    lists = [[int(item) for item in ranked if item >= 0] for ranked in (first, second)]
    items: list[int] = []
    teams: list[int] = []
    chosen: set[int] = set()
    places = [0, 0]
    while len(items) < k:
        leader = int(random.integers(2))
        before = len(items)
        for team in (leader, 1 - leader):
            own = lists[team]
            while places[team] < len(own) and own[places[team]] in chosen:
                places[team] += 1
            if places[team] < len(own) and len(items) < k:
                items.append(own[places[team]])
                chosen.add(items[-1])
                teams.append(team)
        if len(items) == before:
            break
    return Interleaved(np.array(items, dtype=np.int64), np.array(teams, dtype=np.int64))


def credit(shown: Interleaved, clicked: Sequence[int] | np.ndarray) -> tuple[int, int]:
    """Clicks of each system on one list; clicks on items that were not shown count for nobody."""
    team = shown.teams[np.isin(shown.items, np.asarray(clicked, dtype=np.int64))]
    return int((team == 0).sum()), int((team == 1).sum())


@dataclass(frozen=True)
class Preference:
    """Which of two interleaved systems people prefer."""

    units: int
    wins: tuple[int, int]
    """Units that preferred the first, the second system; the rest preferred neither."""
    share: float
    """Share of the second system among units with a preference; 0.5 without any."""
    low: float
    high: float
    """Interval of that share that holds at every look."""
    p_value: float
    """Two-sided exact sign test; valid for one look."""
    sequential_p: float
    """Valid at every look."""
    winner: Winner
    """By `sequential_p`."""


def interleaving_test(first: np.ndarray, second: np.ndarray, *, units: np.ndarray | None = None, alpha: float = 0.05) -> Preference:
    """Compare two systems by their credits, one entry per list shown; `units` `[list]` names who saw it (None: a person per list).

    A person with several lists counts once, by all of them together, because their clicks are not independent. The sequential test
    and the interval are exact: a Beta mixture of binomial likelihood ratios (Robbins, 1970), uniform over the share.
    """
    check_alpha(alpha)
    net = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    if net.ndim != 1 or not np.isfinite(net).all() or (units is not None and len(units) != len(net)):
        raise DataError("credits of the two systems and units must be of equal length, one finite number per list shown")
    if units is not None:
        _, place = np.unique(np.asarray(units), return_inverse=True)
        net = np.asarray(np.bincount(place, weights=net), dtype=np.float64)
    wins = int((net < 0).sum()), int((net > 0).sum())
    decided = sum(wins)
    share = wins[1] / decided if decided else 0.5
    p_value = float(binomtest(wins[1], decided).pvalue) if decided else 1.0
    sequential_p = min(1.0, math.exp(-_evidence(wins, 0.5)))
    low, high = _share_interval(wins, alpha)
    winner: Winner = "not yet" if sequential_p > alpha else "first" if share < 0.5 else "second"
    return Preference(len(net), wins, share, low, high, p_value, sequential_p, winner)


def lists_needed(share: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Units with a preference that show a true `share` ≠ 0.5 in one look with this power, by the normal approximation."""
    check_alpha(alpha)
    if not 0 < share < 1 or share == 0.5:
        raise UserError(f"share = {share!r} does not work; give a number between 0 and 1 other than 0.5")
    normal = NormalDist()
    spread = normal.inv_cdf(1 - alpha / 2) * 0.5 + normal.inv_cdf(power) * math.sqrt(share * (1 - share))
    return math.ceil((spread / (share - 0.5)) ** 2)


def _evidence(wins: tuple[int, int], share: float) -> float:
    """Log of the mixture's likelihood over that of `share`."""
    lost, won = wins
    return float(betaln(won + 1, lost + 1)) - won * math.log(share) - lost * math.log1p(-share)


def _share_interval(wins: tuple[int, int], alpha: float) -> tuple[float, float]:
    """All shares whose evidence against them is below log(1 / alpha), by bisection on both sides of the observed share."""
    lost, won = wins
    centre = (won + 1) / (lost + won + 2)
    limit = math.log(1 / alpha)

    def edge(outer: float) -> float:
        inner = centre
        for _ in range(40):
            middle = (outer + inner) / 2
            if _evidence(wins, middle) < limit:
                inner = middle
            else:
                outer = middle
        return inner

    low = 0.0 if won == 0 else edge(1e-12)
    high = 1.0 if lost == 0 else edge(1 - 1e-12)
    return low, high
