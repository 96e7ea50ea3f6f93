from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.models.rating_means import RatingMeans, RatingMeansConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch


class TestRatingMeans(ScoreModelTests):
    model_class = RatingMeans
    config = RatingMeansConfig()
    personalised = False


def rated(rows: list[list[int]], ratings: list[float]) -> Histories:
    bare = Histories.from_rows(rows)
    return Histories(bare.values, bare.offsets, None, np.array(ratings, dtype=np.float32))


def test_a_prediction_is_mean_plus_offsets() -> None:
    model = RatingMeans(RatingMeansConfig(item_damping=0, user_damping=1), items=3)
    model.solve(rated([[0, 1], [0, 1]], [5, 1, 5, 1]))
    scores = model.score(to_batch(rated([[1], [0]], [3, 5])))
    # the first person gives 2 above what the item gets, of which a half is believed
    torch.testing.assert_close(scores, torch.tensor([[6.0, 2.0, 4.0], [5.0, 1.0, 3.0]]))


def test_a_log_without_ratings_is_refused() -> None:
    with pytest.raises(DataError, match="rating means need ratings, and the log has none"):
        RatingMeans(RatingMeansConfig(), items=3).solve(Histories.from_rows([[0, 1]]))
