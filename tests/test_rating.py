"""The split `explicit-rating`: a run predicts the value of ratings held out at random."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import recsmith
from recsmith.data import Cases, Histories
from recsmith.errors import UserError
from recsmith.protocols import HistoryBatch
from recsmith.rating import predicted_ratings

SPLIT = {"split": {"name": "explicit-rating"}}


@pytest.fixture(scope="module")
def ratings() -> recsmith.Dataset:
    """Sixty people in two camps rate twelve items: 5 for those of their camp, 1 for the others."""
    random = np.random.default_rng(0)
    rows = [(user, item, 5.0 if (item < 6) == (user % 2 == 0) else 1.0) for user in range(60) for item in random.permutation(12)[:9]]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "rating"], orient="row").with_columns(
        pl.col("user_id", "item_id").cast(pl.String), timestamp=pl.int_range(len(rows))
    )
    return recsmith.Dataset.from_frame(frame)


def test_an_autoencoder_of_ratings_beats_their_means(ratings: recsmith.Dataset, tmp_path: Path) -> None:
    training = {"epochs": 60, "learning_rate": 0.02, "device": "cpu"}
    settings = {**SPLIT, "model": {"hidden": 16, "weight_penalty": 0.0001}, "training": training}
    learned = recsmith.fit("autorec", ratings, settings=settings, out=tmp_path / "run")
    means = recsmith.fit("rating-means", ratings, settings=SPLIT)
    assert learned.card["training"]["best watched -RMSE"] < 0
    found, simple = learned.evaluate("test"), means.evaluate("test")
    assert found.metrics["RMSE"] < 1.0 < simple.metrics["RMSE"]
    assert found.protocol["ranking"] == "none: ratings of held-out pairs"
    assert recsmith.load(tmp_path / "run").evaluate("test").metrics == found.metrics


class Judging(torch.nn.Module):
    """Rates an item by its number, and by how many ratings its person has given."""

    rates = True

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[torch.Tensor]:
        return [len(one.items) + torch.tensor(chosen) / 10 for one, chosen in zip(histories, candidates, strict=True)]


def test_a_model_that_judges_pairs_is_asked_about_the_targets_alone() -> None:
    cases = Cases(np.array([0, -1, 1]), Histories.from_rows([[5], [], [1, 2]]), Histories.from_rows([[3, 4], [9], []]))
    assert predicted_ratings(Judging(), cases, trained_users=2).round(4).tolist() == pytest.approx([1.3, 1.4, 0.9])


def test_a_model_without_ratings_is_refused(ratings: recsmith.Dataset) -> None:
    with pytest.raises(UserError, match="Popularity ranks items and predicts no ratings"):
        recsmith.fit("popularity", ratings, settings=SPLIT).evaluate("test")
