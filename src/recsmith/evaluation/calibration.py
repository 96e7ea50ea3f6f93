"""Do scores mean what they say? Reliability of probabilities, and whether a score means the same for different people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from recsmith.errors import DataError, UserError
from recsmith.evaluation.as_json import json_ready
from recsmith.evaluation.scores import auc, grouped_auc


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of similar size."""

    low: float
    high: float
    predicted: float
    """Mean prediction."""
    observed: float
    """Share of them that came true."""
    count: int


@dataclass(frozen=True)
class ReliabilityCurve:
    """Bins that hold predictions, ascending, and what they come to."""

    rows: tuple[ReliabilityBin, ...]
    ece: float
    """Expected calibration error: mean |observed - predicted|, weighted by the bins' counts."""
    mce: float
    """The largest of them."""
    brier: float
    """Mean squared difference of prediction and outcome, without bins."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return json_ready(self)


def reliability_curve(
    probabilities: np.ndarray, outcomes: np.ndarray, *, bins: int = 10, by: Literal["width", "count"] = "width"
) -> ReliabilityCurve:
    """Bins of equal width or of equal counts (Naeini et al. 2015; Guo et al. 2017); both arrays `[pair]`, outcomes 0 or 1.

    A prediction at the border of two bins of equal width belongs to the upper one, except 1. Raises `DataError` for probabilities
    outside 0 … 1, other outcomes, or none.
    """
    if bins < 1:
        raise UserError(f"bins = {bins} does not work; give a number from 1, usually 10")
    if len(probabilities) != len(outcomes) or not len(outcomes):
        raise DataError(f"{len(probabilities)} probabilities for {len(outcomes)} outcomes; give one for each, and at least one")
    if not ((probabilities >= 0) & (probabilities <= 1)).all() or not np.isin(outcomes, (0, 1)).all():
        raise DataError("a reliability curve needs probabilities from 0 to 1 and outcomes 0 or 1; for plain scores use hit_rate_by_score")
    number = np.minimum((probabilities * bins).astype(np.int64), bins - 1) if by == "width" else _equal_counts(probabilities, bins)
    rows = _rows(probabilities, outcomes, number)
    gaps = np.array([abs(row.observed - row.predicted) for row in rows])
    counts = np.array([row.count for row in rows])
    brier = float(((probabilities - outcomes) ** 2).mean())
    return ReliabilityCurve(rows, float(gaps @ counts / counts.sum()), float(gaps.max()), brier)


def hit_rate_by_score(scores: np.ndarray, hits: np.ndarray, *, bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """Share of hits among listed items of similar score, for scores that are no probabilities; bins of equal counts, ascending.

    `scores` and `hits` have one shape; places without an item (score -inf) are left out. A curve that falls anywhere says that higher
    scores are not better across people.
    """
    listed = np.isfinite(scores)
    if not listed.any():
        raise DataError("no listed item has a finite score; give the scores of the lists")
    flat = scores[listed].astype(np.float64)
    return _rows(flat, hits[listed], _equal_counts(flat, bins))


@dataclass(frozen=True)
class ScoreComparability:
    """Whether one person's scores can be compared with another's."""

    pooled_auc: float
    """AUC over all pairs of all people together."""
    gauc: float
    """AUC inside each person, weighted by pairs."""
    gap: float
    """`gauc` minus `pooled_auc`: what is lost when scores are compared across people; about 0 when they are comparable."""
    between_people: float
    """Share of the scores' variance that lies between people rather than inside them, 0 … 1."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return json_ready(self)


def score_comparability(scores: np.ndarray, labels: np.ndarray, users: np.ndarray) -> ScoreComparability:
    """Compare AUC inside people with AUC across them; all arrays `[pair]`, labels 0 or 1. Raises what `grouped_auc` raises."""
    inside, pooled = grouped_auc(scores, labels, users).value, auc(scores, labels)
    _, number = np.unique(users, return_inverse=True)
    counts = np.bincount(number)
    means = np.bincount(number, scores) / counts
    total = float(scores.var())
    between = float((counts * (means - scores.mean()) ** 2).sum() / len(scores)) / total if total > 0 else float("nan")
    return ScoreComparability(pooled, inside, inside - pooled, between)


def _equal_counts(values: np.ndarray, bins: int) -> np.ndarray:
    """Number of the bin of each value; equal values share one, so bins may be fewer."""
    order = np.argsort(values, kind="stable")
    place = np.empty(len(values), dtype=np.int64)
    place[order] = np.arange(len(values)) * bins // len(values)
    _, first, same = np.unique(values[order], return_index=True, return_inverse=True)
    number = np.empty(len(values), dtype=np.int64)
    number[order] = place[order][first[same]]
    return number


def _rows(values: np.ndarray, outcomes: np.ndarray, number: np.ndarray) -> tuple[ReliabilityBin, ...]:
    rows = []
    for place in np.unique(number):
        inside = number == place
        own, share = values[inside], float(outcomes[inside].mean())
        rows.append(ReliabilityBin(float(own.min()), float(own.max()), float(own.mean()), share, int(inside.sum())))
    return tuple(rows)
