"""A share of answers that explores, with the exact probability of everything shown: without it, nothing can be learned from the log."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.errors import UserError


class Exploration(Config):
    """How, and how often, an answer departs from the best k."""

    kind: Literal["none", "epsilon", "softmax"] = "none"
    """none; at each place a random candidate with probability epsilon; or draws in proportion to exp(score / temperature)."""
    share: float = Field(1.0, ge=0, le=1)
    """Share of answers that explore; the others show the best k."""
    epsilon: float = Field(0.1, ge=0, le=1)
    """Probability, at each place, of a uniform draw from the candidates left (`kind = "epsilon"`)."""
    temperature: float = Field(1.0, ge=1e-6, le=1e6)
    """Unit of scores over which the odds fall by a factor of e (`kind = "softmax"`)."""
    candidates: int = Field(100, ge=1, le=10_000)
    """The best so many items may be shown; no other ever is, and estimates hold for policies that keep to them."""


@dataclass(frozen=True)
class Explored:
    """A list to show, and how likely it was."""

    items: np.ndarray
    """int64 `[k]`."""
    propensities: np.ndarray
    """Probability of each item at its place, given the items above it, float64 `[k]`."""
    explored: bool
    """Whether this answer belongs to the exploring share."""

    @property
    def slate_propensity(self) -> float:
        """Probability of the whole list in this order."""
        return float(np.prod(self.propensities))


def explore(items: np.ndarray, scores: np.ndarray, k: int, settings: Exploration, random: np.random.Generator) -> Explored:
    """Draw a list of k from candidates, best first: `items` int64 `[n]`, distinct, and `scores` float `[n]`, not increasing.

    The draws of `softmax` without replacement give the Plackett–Luce distribution. Raises `UserError` when k does not fit.
    """
    items, scores = _pool(items, scores, k, settings)
    explored = settings.kind != "none" and bool(random.random() < settings.share)
    places = _draw(scores, k, settings, random) if explored else np.arange(k)
    return Explored(items[places], _conditional(scores, places, settings), explored)


def propensities(items: np.ndarray, scores: np.ndarray, shown: np.ndarray, settings: Exploration) -> np.ndarray:
    """Probability that `explore` shows each item of `shown` `[k]` at its place, given those above it, float64 `[k]`; 0 from the
    first place on that it would never fill so. Ask with another policy's candidates, scores and settings to estimate what it would bring.
    """
    items, scores = _pool(items, scores, len(shown), settings)
    position = {int(item): place for place, item in enumerate(items)}
    places = np.array([position.get(int(item), -1) for item in shown], dtype=np.int64)
    repeated = np.array([place in places[:index] for index, place in enumerate(places)], dtype=bool)
    impossible = np.flatnonzero((places < 0) | repeated)
    possible = places if not len(impossible) else places[: impossible[0]]
    result = np.zeros(len(shown))
    result[: len(possible)] = _conditional(scores, possible, settings)
    return result


def first_place(scores: np.ndarray, settings: Exploration) -> np.ndarray:
    """Probability of each of the candidates with `scores` `[n]`, best first, at the first place, float64 `[n]`; 0 behind the pool."""
    pool = np.asarray(scores, dtype=np.float64)[: settings.candidates]
    best = np.zeros(len(scores))
    best[:1] = 1.0
    if settings.kind == "none" or not len(pool):
        return best
    explored = np.zeros(len(scores))
    if settings.kind == "epsilon":
        explored[: len(pool)] = settings.epsilon / len(pool)
        explored[0] += 1 - settings.epsilon
    else:
        weights = np.exp((pool - pool.max()) / settings.temperature)
        explored[: len(pool)] = weights / weights.sum()
    mixed: np.ndarray = settings.share * explored + (1 - settings.share) * best
    return mixed


def _pool(items: np.ndarray, scores: np.ndarray, k: int, settings: Exploration) -> tuple[np.ndarray, np.ndarray]:
    items, scores = np.asarray(items, dtype=np.int64), np.asarray(scores, dtype=np.float64)
    if items.shape != scores.shape or items.ndim != 1 or not np.isfinite(scores).all() or (np.diff(scores) > 0).any():
        raise UserError("candidates do not fit: give items and finite scores of equal length, best first")
    if len(np.unique(items)) < len(items):
        raise UserError("a candidate is there twice; give each item once")
    if not 1 <= k <= min(len(items), settings.candidates):
        most = min(len(items), settings.candidates)
        raise UserError(f"k = {k} does not fit {most} candidates; raise `candidates`, or ask for fewer items")
    return items[: settings.candidates], scores[: settings.candidates]


def _draw(scores: np.ndarray, k: int, settings: Exploration, random: np.random.Generator) -> np.ndarray:
    """Places of k candidates, int64 `[k]`."""
    if settings.kind == "softmax":
        # The largest k of scores with Gumbel noise are successive draws without replacement (Yellott, 1977; Vieira, 2014).
        noisy = scores / settings.temperature + random.gumbel(size=len(scores))
        return np.argsort(-noisy, kind="stable")[:k]
    left = list(range(len(scores)))
    chosen = []
    for _ in range(k):
        index = int(random.integers(len(left))) if random.random() < settings.epsilon else 0
        chosen.append(left.pop(index))
    return np.array(chosen, dtype=np.int64)


def _conditional(scores: np.ndarray, places: np.ndarray, settings: Exploration) -> np.ndarray:
    """Probability of each of `places` `[k]` given those before it, the exploring share and the rest taken together.

    A list that begins like the best one may come from either, so that the share's part in what follows is weighed by Bayes' rule.
    """
    greedy = places == np.arange(len(places))
    if settings.kind == "none":
        return np.cumprod(greedy).astype(np.float64)
    if settings.kind == "epsilon":
        explored = _epsilon(len(scores), places, settings.epsilon)
    else:
        explored = _softmax(scores, places, settings.temperature)
    both = settings.share * np.cumprod(explored) + (1 - settings.share) * np.cumprod(greedy)
    before = np.concatenate([[1.0], both[:-1]])
    return np.divide(both, before, out=np.zeros_like(both), where=before > 0)


def _epsilon(count: int, places: np.ndarray, epsilon: float) -> np.ndarray:
    left = count - np.arange(len(places))
    smallest_left = np.array([_smallest_absent(places[:index]) for index in range(len(places))])
    return epsilon / left + (1 - epsilon) * (places == smallest_left)


def _smallest_absent(places: np.ndarray) -> int:
    taken = set(places.tolist())
    return next(place for place in range(len(places) + 1) if place not in taken)


def _softmax(scores: np.ndarray, places: np.ndarray, temperature: float) -> np.ndarray:
    logits = (scores - scores.max(initial=-np.inf)) / temperature
    result = np.empty(len(places))
    left = logits.copy()
    for index, place in enumerate(places):
        top = left.max()
        result[index] = math.exp(left[place] - top) / np.exp(left - top).sum()
        left[place] = -np.inf
    return result
