"""Rating means: the average, plus how much this item and this person differ from it. What every rating model must beat."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.nn.packed import row_ids
from recsmith.protocols import HistoryBatch


class RatingMeansConfig(Config):
    """How far few ratings are trusted."""

    item_damping: float = Field(default=5.0, ge=0)
    """Ratings of average worth that every item is taken to have besides its own."""
    user_damping: float = Field(default=5.0, ge=0)
    """Ratings of average worth that every person is taken to have given besides their own."""


class RatingMeans(nn.Module):
    """Mean + offset of the item + offset of the person, each shrunk towards 0 by few ratings.

    Source: the baseline predictors of Koren, "Factor in the Neighbors", TKDD 2010 (the averages, not the fitted form). The offset of a
    person is taken from the history in the question, so that people unseen in training have one too.
    """

    Config: ClassVar[type[RatingMeansConfig]] = RatingMeansConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["closed-form"]] = "closed-form"
    rates: ClassVar[bool] = True
    mean: Tensor
    offsets: Tensor
    """By how much an item is rated above the mean, `[item]`."""

    def __init__(self, config: RatingMeansConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("offsets", torch.zeros(items))

    def solve(self, histories: Histories) -> None:
        """Take the averages; raises `DataError` for a log without ratings."""
        if histories.weights is None:
            raise DataError("rating means need ratings, and the log has none; name the column: --columns rating=stars")
        known = np.isfinite(histories.weights)
        items, ratings = histories.values[known], histories.weights[known].astype(np.float64)
        mean = ratings.mean() if len(ratings) else 0.0
        size = len(self.offsets)
        counts = np.bincount(items, minlength=size) + self.config.item_damping
        above = np.bincount(items, ratings - mean, minlength=size) / np.maximum(counts, 1e-9)
        self.mean.fill_(float(mean))
        self.offsets.copy_(torch.from_numpy(above))

    def score(self, batch: HistoryBatch) -> Tensor:
        """Predicted ratings, `[batch, item]`."""
        return self.mean + self.offsets + self._people(batch).unsqueeze(1)

    def _people(self, batch: HistoryBatch) -> Tensor:
        """By how much each person rates above what their items get, `[batch]`."""
        sums = torch.zeros(len(batch), device=self.offsets.device)
        if batch.weights is None:
            return sums
        known = batch.weights.isfinite()
        rows = row_ids(batch.offsets, tokens=len(batch.items))[known]
        above = batch.weights[known] - self.mean - self.offsets[batch.items[known]]
        counts = torch.bincount(rows, minlength=len(batch)) + self.config.user_damping
        return sums.index_add_(0, rows, above) / counts.clamp(min=1e-9)
