from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import recsmith
from recsmith.data import Dataset, Histories
from recsmith.decoding.word_search import WordSearch
from recsmith.models.gpt4rec import shared_out
from recsmith.training import to_batch

WORDS = ["amber", "birch", "cedar", "delta"]
TINY = {"dim": 16, "layers": 1, "heads": 2, "ff_dim": 32, "words": 300}


def test_each_query_gets_its_share_and_empty_ones_give_theirs_away() -> None:
    scores = np.array([[5, 4, 3, 2, 1, 0], [9, 0, 0, 0, 8, 7]], dtype=np.float32)
    assert shared_out(scores, 4).tolist() == [0, 1, 4, 5]
    assert shared_out(np.array([[0, 0, 3, 2, 1, 0], [0] * 6], dtype=np.float32), 4).tolist() == [2, 3, 4]
    assert shared_out(np.zeros((2, 3), dtype=np.float32), 2).tolist() == []


@pytest.fixture(scope="module")
def fitted() -> recsmith.Recommender:
    rows = [(user, (user + step) % 4, step) for user in range(24) for step in range(6)]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    data = Dataset.from_frame(log, catalogue=pl.DataFrame({"item_id": range(4), "title": WORDS}), name="circle")
    settings = {
        "training": {"epochs": 6, "learning_rate": 0.01, "patience": None, "validate_every": 3},
        "model": {"network": {**TINY, "dropout": 0.0}, "pretrain_steps": 30, "queries": 2, "max_title": 4, "told_history": 3},
    }
    return recsmith.fit("gpt4rec", data, settings=settings)


def test_what_the_queries_find_stands_before_what_is_popular(fitted: recsmith.Recommender) -> None:
    model = fitted.model
    batch = to_batch(Histories.from_rows([[0, 1], [2, 3], []]))
    scores = model.score(batch)
    for row, queries in enumerate(model.queries_of(batch)):
        found = shared_out(WordSearch(WORDS)(queries), 4).tolist()
        behind = [item for item in np.argsort(-model.events.numpy(), kind="stable").tolist() if item not in found]
        assert scores[row].argsort(descending=True, stable=True).tolist() == found + behind


def test_queries_are_distinct_and_do_not_depend_on_the_batch(fitted: recsmith.Recommender) -> None:
    model = fitted.model
    histories = Histories.from_rows([[0], [0, 1, 2], [3, 0]])
    together = model.queries_of(to_batch(histories))
    assert together == [model.queries_of(to_batch(histories.slice(row, row + 1)))[0] for row in range(3)]
    assert all(0 < len(set(queries)) == len(queries) <= 2 for queries in together)


def test_it_learns_to_write_what_comes_next(fitted: recsmith.Recommender) -> None:
    curve = fitted.card["curve"]
    losses = [row["loss"] for row in curve]
    assert losses[-1] < losses[0]
