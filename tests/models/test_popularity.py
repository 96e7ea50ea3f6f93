from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.models.popularity import Popularity, PopularityConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch


class TestPopularity(ScoreModelTests):
    model_class = Popularity
    config = PopularityConfig()
    personalised = False


class TestRecentPopularity(ScoreModelTests):
    model_class = Popularity
    config = PopularityConfig(half_life=2.0)
    personalised = False


def test_scores_are_counts_of_training_events() -> None:
    model = Popularity(PopularityConfig(), items=4)
    model.solve(Histories.from_rows([[0, 1], [1, 1, 3], []]))
    scores = model.score(to_batch(Histories.from_rows([[2], []])))
    assert scores.tolist() == [[1, 3, 0, 1]] * 2


def test_an_event_one_half_life_old_counts_half() -> None:
    model = Popularity(PopularityConfig(half_life=10), items=3)
    day = 86_400.0
    model.solve(Histories(np.array([0, 1, 2]), np.array([0, 3]), np.array([0.0, 10 * day, 20 * day])))
    assert model.counts.tolist() == pytest.approx([0.25, 0.5, 1.0])


def test_half_life_without_times_is_refused() -> None:
    model = Popularity(PopularityConfig(half_life=10), items=3)
    with pytest.raises(DataError, match=r"`half_life` = 10\.0 needs event times"):
        model.solve(Histories.from_rows([[0, 1]]))


def test_no_events_at_all_count_nothing() -> None:
    model = Popularity(PopularityConfig(half_life=10), items=3)
    model.solve(Histories(np.zeros(0, dtype=np.int64), np.array([0, 0]), np.zeros(0)))
    assert model.counts.tolist() == [0, 0, 0]


@pytest.mark.realdata
@pytest.mark.skipif("RECSMITH_DATA" not in os.environ, reason="needs the folder that RECSMITH_DATA names")
def test_golden_row_of_amazon_beauty() -> None:
    """Leave-one-out, full ranking, seen items masked, ties by the smaller id, counted on training events only."""
    with gzip.open(Path(os.environ["RECSMITH_DATA"]) / "amazon-beauty" / "sequences.txt.gz", "rt") as file:
        rows = [[int(item) - 1 for item in line.split()[1:]] for line in file]
    items = 1 + max(map(max, rows))
    model = Popularity(PopularityConfig(), items=items)
    model.solve(Histories.from_rows([row[:-2] for row in rows]))
    order = torch.argsort(-model.counts, stable=True).numpy()
    place = np.empty(items, dtype=np.int64)
    place[order] = np.arange(items)
    ranks = np.array([place[row[-1]] - len({item for item in row[:-1] if place[item] < place[row[-1]]}) for row in rows])
    hits = ranks < 10
    assert round(float(hits.mean()), 4) == 0.0115
    assert round(float((hits / np.log2(ranks + 2)).mean()), 4) == 0.0055
