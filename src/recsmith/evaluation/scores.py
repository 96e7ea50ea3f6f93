"""Measures of scores, probabilities and ratings rather than of lists: AUC, GAUC, log-loss, RMSE, MAE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np

from recsmith.data import Cases
from recsmith.errors import DataError
from recsmith.evaluation.protocol import identified
from recsmith.evaluation.result import Evaluation


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Probability that a positive outscores a negative, ties counting half; nan when one of the two is missing.

    `scores` float `[pair]`, `labels` 0 or 1 `[pair]`; equals scikit-learn's `roc_auc_score`.
    """
    return grouped_auc(scores, labels, np.zeros(len(scores), dtype=np.int64)).value


@dataclass(frozen=True)
class GroupedAuc:
    """AUC per user and its weighted mean."""

    value: float
    """Mean over the users that have positives and negatives, weighted by their number of pairs; nan when nobody has."""
    users: np.ndarray
    """Users with pairs, int64 `[user]`, ascending."""
    per_user: np.ndarray
    """AUC, float64 `[user]`, nan for users with one kind of label."""
    pairs: np.ndarray
    """Pairs of each user, int64 `[user]`."""


def grouped_auc(scores: np.ndarray, labels: np.ndarray, users: np.ndarray) -> GroupedAuc:
    """GAUC (Zhu et al. 2017): the AUC inside each user, weighted by impressions; one user at a time, but without a loop.

    All arrays are `[pair]`. Raises `DataError` for different lengths, labels other than 0 and 1, or nan scores.
    """
    _check(scores, labels, users)
    order = np.lexsort((scores, users))
    user, score, label = users[order], scores[order], labels[order].astype(bool)
    names, starts, pairs = np.unique(user, return_index=True, return_counts=True)
    rank = _average_ranks(user, score) - np.repeat(starts, pairs)
    number = np.repeat(np.arange(len(names)), pairs)
    positives = np.bincount(number[label], minlength=len(names)).astype(np.float64)
    negatives = pairs - positives
    above = np.bincount(number[label], rank[label], minlength=len(names)) - positives * (positives + 1) / 2
    both = positives * negatives
    per_user = np.divide(above, both, out=np.full(len(names), np.nan), where=both > 0)
    defined = both > 0
    value = float(np.average(per_user[defined], weights=pairs[defined])) if defined.any() else float("nan")
    return GroupedAuc(value, names.astype(np.int64), per_user, pairs)


def log_loss(probabilities: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """-log of the probability that was given to what happened, in nats, float64 `[pair]`; its mean is scikit-learn's `log_loss`.

    Probabilities are kept off 0 and 1 by the smallest step of a float64. Raises `DataError` outside 0 … 1 and for outcomes that are not
    0 or 1.
    """
    _check(probabilities, outcomes, outcomes)
    if len(probabilities) and (probabilities.min() < 0 or probabilities.max() > 1):
        raise DataError(f"probabilities from {probabilities.min():g} to {probabilities.max():g} do not work; give numbers from 0 to 1")
    step = np.finfo(np.float64).eps
    kept = np.clip(probabilities.astype(np.float64), step, 1 - step)
    return -np.where(outcomes.astype(bool), np.log(kept), np.log1p(-kept))


@dataclass(frozen=True)
class RatingErrors:
    """How far predicted ratings are from the given ones, in the unit of the ratings."""

    rmse: float
    mae: float
    ratings: int


def rating_errors(predicted: np.ndarray, actual: np.ndarray) -> RatingErrors:
    """Root mean squared and mean absolute error over all pairs, float `[pair]` each; raises `DataError` for none or not finite ones."""
    if len(predicted) != len(actual) or not len(actual):
        raise DataError(f"{len(predicted)} predictions for {len(actual)} ratings; give one for each, and at least one")
    if not (np.isfinite(predicted).all() and np.isfinite(actual).all()):
        raise DataError("ratings or predictions hold nan or an infinite number; give a finite prediction for every rating")
    errors = predicted.astype(np.float64) - actual
    return RatingErrors(float(np.sqrt((errors**2).mean())), float(np.abs(errors).mean()), len(actual))


PredictRatings = Callable[[Cases], np.ndarray]
"""Cases → a predicted rating for every target, float `[target]` in the order of `cases.targets.values`."""


def evaluate_ratings(
    predict: PredictRatings, cases: Cases, *, split: Literal["validation", "test"], protocol: dict[str, Any], batch_size: int = 1_024
) -> Evaluation:
    """`RMSE` and `MAE` over all held-out ratings (`cases.targets.weights`), and per case in `per_case`.

    The mean of `per_case["MAE"]` weighs people alike, `metrics["MAE"]` ratings, as the literature does. Raises `DataError` when the
    targets have no ratings or a prediction is missing or not finite.
    """
    started = perf_counter()
    actual = cases.targets.weights
    if actual is None or not len(actual):
        raise DataError(f"the {split} part has no held-out ratings; give data with a column of ratings and the split `explicit-rating`")
    parts = []
    for start in range(0, len(cases), batch_size):
        asked = cases.take(np.arange(start, min(start + batch_size, len(cases))))
        answer = np.asarray(predict(asked))
        if answer.shape != (len(asked.targets.values),):
            raise DataError(f"{len(asked.targets.values)} held-out ratings got predictions of shape {answer.shape}; give one for each")
        parts.append(answer)
    predicted = np.concatenate(parts)
    errors = rating_errors(predicted, actual)
    difference = np.abs(predicted.astype(np.float64) - actual)
    count = np.maximum(cases.targets.lengths, 1)
    by_case = {"MAE": np.bincount(cases.targets.rows, difference, minlength=len(cases)) / count}
    by_case["RMSE"] = np.sqrt(np.bincount(cases.targets.rows, difference**2, minlength=len(cases)) / count)
    empty = cases.targets.lengths == 0
    per_case = {name: np.where(empty, np.nan, values) for name, values in by_case.items()}
    described = identified({**protocol, "ranking": "none: ratings of held-out pairs"})
    metrics = {"RMSE": errors.rmse, "MAE": errors.mae}
    return Evaluation(metrics, per_case, split, described, perf_counter() - started, len(cases), {"ratings": errors.ratings})


def _average_ranks(user: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Rank from 1 along the whole array, ordered by user and score, ties of one user sharing their mean; float64 `[pair]`."""
    if not len(score):
        return np.zeros(0)
    first = np.ones(len(score), dtype=bool)
    first[1:] = (score[1:] != score[:-1]) | (user[1:] != user[:-1])
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], len(score))
    return np.repeat((starts + ends + 1) / 2.0, ends - starts)


def _check(scores: np.ndarray, labels: np.ndarray, users: np.ndarray) -> None:
    if not len(scores) == len(labels) == len(users):
        raise DataError(f"{len(scores)} scores, {len(labels)} labels and {len(users)} users do not fit; give one of each per pair")
    if np.isnan(scores).any():
        raise DataError("the scores hold nan; give a number for every pair")
    if not np.isin(labels, (0, 1)).all():
        raise DataError("labels must be 0 or 1; turn ratings into labels first, for example rating >= 4")
