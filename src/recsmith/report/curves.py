"""Two curves of a system: whom its lists show (by popularity), and whether a higher score means a hit more often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsmith.background import Background
from recsmith.evaluation.calibration import ReliabilityBin, ScoreComparability, hit_rate_by_score, score_comparability
from recsmith.measurement import MeasuredRun

_POINTS = 60


@dataclass(frozen=True)
class PopularityCurve:
    """Cumulative share of what is shown, over the catalogue with the items most popular in training first."""

    name: str
    catalogue: np.ndarray
    """Share of the catalogue, float64 `[point]`."""
    shown: np.ndarray
    """Share of all places in lists that go to these items, float64 `[point]`."""
    head: float
    """Share of the places that goes to the most popular tenth of the catalogue."""


@dataclass(frozen=True)
class HitCurve:
    """Share of listed items that were held out, by the size of their score."""

    name: str
    bins: tuple[ReliabilityBin, ...]
    """Lowest scores first, each of about as many listed items."""
    comparability: ScoreComparability
    """Whether one person's scores can be compared with another's."""


def popularity_curve(background: Background, exposure: np.ndarray, name: str) -> PopularityCurve:
    """The curve of `exposure`, how often each item is shown, `[item]`; equal popularity goes by the smaller item index."""
    order = np.argsort(-background.trained, kind="stable")
    shares = np.concatenate([[0.0], np.cumsum(exposure[order])]) / max(float(exposure.sum()), 1.0)
    places = np.unique(np.round(np.geomspace(1, background.items + 1, _POINTS)).astype(int)) - 1
    head = shares[int(np.ceil(background.items / 10))]
    return PopularityCurve(name, places / background.items, shares[places], float(head))


def hit_curve(background: Background, run: MeasuredRun, name: str, *, k: int) -> HitCurve | None:
    """None where a system gives no scores that differ, or no list holds a hit."""
    if run.lists is None:
        return None
    items, scores = run.lists.items[:, :k], run.lists.scores[:, :k]
    listed = (items >= 0) & np.isfinite(scores)
    hits = was_held_out(background, items)
    if not hits[listed].any() or np.ptp(scores[listed]) == 0:
        return None
    people = np.broadcast_to(np.arange(len(items))[:, None], items.shape)
    comparable = score_comparability(scores[listed].astype(np.float64), hits[listed], people[listed])
    return HitCurve(name, hit_rate_by_score(np.where(listed, scores, -np.inf), hits), comparable)


def was_held_out(background: Background, items: np.ndarray) -> np.ndarray:
    """Whether each listed item `[case, k]` is a target of its case; bool, the same shape."""
    targets = background.cases.targets
    keys = np.unique(targets.rows * background.items + targets.values)
    wanted = np.arange(len(items))[:, None] * background.items + items
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return (keys[place] == wanted) & (items >= 0)
