"""Predicted ratings of held-out pairs instead of ranked lists: what is measured under the split `explicit-rating`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch

from recsmith.data import Cases
from recsmith.errors import UserError
from recsmith.evaluation import Evaluation
from recsmith.evaluation.scores import evaluate_ratings
from recsmith.protocols import HistoryBatch
from recsmith.recipe import Recipe
from recsmith.training import row_batches, to_batch

PROTOCOL = "explicit-rating"
WATCHED = "-RMSE"
"""The validation figure where ratings are predicted: higher is better, as for every other."""


@runtime_checkable
class JudgesPairs(Protocol):
    """A model that rates pairs of people and items one by one, and is therefore asked about the targets alone."""

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[torch.Tensor]:
        """Ratings of each row's candidates; a history is a batch of one row."""
        ...


def predicted_ratings(model: torch.nn.Module, cases: Cases, *, trained_users: int) -> np.ndarray:
    """The model's rating of every target, float `[target]`, in the order of `cases.targets.values` and the unit of the log.

    Raises `UserError` for a model whose scores are no ratings.
    """
    if not getattr(model, "rates", False):
        name = type(model).__name__
        raise UserError(
            f"{name} ranks items and predicts no ratings, so `split.name = {PROTOCOL}` cannot be measured; "
            "use the recipe autorec, cross-encoder-rating or rating-means, or another split"
        )
    device = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    users = np.where(cases.users < trained_users, cases.users, -1)
    with torch.inference_mode():
        if isinstance(model, JudgesPairs):
            return _judged(model, cases, device)
        scores: Any = model.score(to_batch(cases.histories, users=users, device=device))  # type: ignore[operator]
        return scores.float().cpu().numpy()[cases.targets.rows, cases.targets.values]


def _judged(model: JudgesPairs, cases: Cases, device: torch.device) -> np.ndarray:
    histories = [row.known() for row in row_batches(cases.histories, device=device)]
    ratings = model.judge(histories, [cases.targets.row(row).tolist() for row in range(len(cases))])
    return np.concatenate([part.float().cpu().numpy() for part in ratings]) if ratings else np.zeros(0, dtype=np.float32)


def evaluate_predictions(
    model: torch.nn.Module, cases: Cases, *, split: Literal["validation", "test"], protocol: dict[str, Any], trained_users: int
) -> Evaluation:
    """`RMSE` and `MAE`; raises `UserError` for a model that predicts no ratings and `DataError` for cases without any."""
    found = evaluate_ratings(
        lambda some: predicted_ratings(model, some, trained_users=trained_users), cases, split=split, protocol=protocol, batch_size=256
    )
    return found if split == "test" else replace(found, metrics={**found.metrics, WATCHED: -found.metrics["RMSE"]})


def watched_errors(model: torch.nn.Module, cases: Cases, *, trained_users: int) -> dict[str, float]:
    """The validation figures of a rating model while it trains."""
    return dict(evaluate_predictions(model, cases, split="validation", protocol={}, trained_users=trained_users).metrics)


def watching(recipe: Recipe) -> Recipe:
    """The recipe, watching the error of ratings instead of a measure of lists where its split asks for ratings."""
    if recipe.split.name != PROTOCOL or "@" not in recipe.training.validation_metric:
        return recipe
    return recipe.with_settings({"training": {"validation_metric": WATCHED}})
