"""Item codes that go by behaviour see training events alone, and items without any are answered when the recipe says so."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import recsmith
from recsmith import Dataset
from recsmith.data import Histories
from recsmith.item_tokenizers.sequential import SequentialCodes
from recsmith.preparing import prepare
from recsmith.recipe import load_recipe

SMALL_T5 = {"dim": 16, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1}
COLD = 120


def shop() -> Dataset:
    """Everybody walks round twelve items; item 120, of a known genre, is bought last by a few, so that no training event holds it."""
    rows = [(user, (user + step) % 12 * 10, step) for user in range(40) for step in range(8)]
    rows += [(user, COLD, 8) for user in range(5)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    items = [item * 10 for item in range(13)]
    titles = [f"{'Comic' if item % 20 == 0 else 'Novel'} {item}" for item in items]
    genres = [["comic" if item % 20 == 0 else "novel", "print"] for item in items]
    return Dataset.from_frame(frame, catalogue=pl.DataFrame({"item_id": items, "title": titles, "genres": genres}), name="shop")


def test_tokenizers_observe_the_training_events_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Histories] = []
    observe = SequentialCodes.observe

    def noted(self: SequentialCodes, histories: Histories) -> None:
        seen.append(histories)
        observe(self, histories)

    monkeypatch.setattr(SequentialCodes, "observe", noted)
    prepared = prepare(load_recipe("indexing-sequential"), shop(), seed=0)
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0].values, prepared.split.train.values)
    assert prepared.log.items.index(COLD) not in seen[0].values
    assert prepared.log.items.index(COLD) in prepared.log.histories.values


def test_category_ids_come_from_the_catalogue() -> None:
    settings = {"training": {"epochs": 1}, "model": SMALL_T5, "tokenizer": {"levels": 2}}
    recommender = recsmith.fit("indexing-semantic", shop(), settings=settings)
    assert recommender.codes is not None
    groups = recommender.codes.table[:, :2].tolist()
    assert len({tuple(group) for group in groups}) == 2
    assert len(recommender.recommend(users=[0], k=3)) == 3


def test_cold_items_get_a_share_of_the_list_when_the_recipe_says_so() -> None:
    settings = {
        "training": {"epochs": 3},
        "model": SMALL_T5,
        "tokenizer": {"name": "categories", "levels": 1},
        "decoding": {"cold_share": 0.5},
    }
    recommender = recsmith.fit("indexing-semantic", shop(), settings=settings)
    lists = recommender.recommend(users=list(range(6, 12)), k=4)
    assert (lists["item_id"] == COLD).sum() > 0
    assert recommender.popularity[recommender.log.items.index(COLD)] == 0
    few = recommender.recommend(users=list(range(6, 12)), k=1)  # half a place is none
    assert COLD not in few["item_id"].to_list()
