"""Evidence for an item: what leaving one event out changes, against weights that are known and against the model asked by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import recsmith
from recsmith.data import Dataset
from recsmith.errors import UserError
from recsmith.recommender import Recommender


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Dataset.from_world(users=120, items=40, events=1200)


@pytest.fixture(scope="module")
def linear(data: Dataset) -> Recommender:
    return recsmith.fit("ease", data)


@pytest.fixture(scope="module")
def codes(data: Dataset) -> Recommender:
    settings = {"training": {"epochs": 1}, "encoder": {"name": "tfidf"}, "model": {"dim": 16}}
    return recsmith.fit("tiger", data, settings=settings)


def test_of_a_linear_model_each_event_gives_its_weight(linear: Recommender) -> None:
    ids = linear.log.items.ids
    history, item = [ids[3], ids[8], ids[5]], ids[20]
    found = linear.explain(item, history=history)
    weights = {position: float(linear.explain(item, history=[event]).score or 0) for position, event in enumerate(history, start=1)}
    assert found.score == pytest.approx(sum(weights.values()), abs=1e-5)
    assert {event.position: event.change for event in found.events} == pytest.approx(weights, abs=1e-5)
    changes = [event.change for event in found.events if event.change is not None]
    assert changes == sorted(changes, reverse=True)
    assert [event.title for event in found.events] == linear.titles([event.item_id for event in found.events])
    assert found.codes == ()


def test_the_rank_is_the_place_among_all_items(linear: Recommender) -> None:
    user = linear.log.users.ids[2]
    table = linear.recommend(users=[user], k=linear.items, include_seen=True)
    for item, rank in table.select("item_id", "rank").head(5).iter_rows():
        assert linear.explain(item, user=user).rank == rank
    found = linear.explain(table["item_id"][0], user=user)
    event = found.events[0]
    rest = [item for place, item in enumerate(linear.history(user), start=1) if place != event.position]
    again = linear.recommend(histories=[rest], k=linear.items, include_seen=True)
    assert again.filter(pl.col("item_id") == found.item_id)["rank"].item() == event.rank_without


def test_of_a_generating_model_the_codes_add_up_to_the_item(codes: Recommender) -> None:
    user = codes.log.users.ids[0]
    history = codes.history(user)
    best = codes.recommend(histories=[history], k=1)
    found = codes.explain(best["item_id"][0], history=history, last=3)
    assert (found.measure, found.rank) == ("log-probability", None)
    assert found.score == pytest.approx(best["score"][0], rel=1e-4)
    assert sum(code.log_probability for code in found.codes) == pytest.approx(found.score, rel=1e-5)
    assert codes.codes is not None
    row = codes.codes.table[codes.log.items.index(found.item_id)]
    assert [code.code for code in found.codes] == row.tolist()
    assert {event.position for event in found.events} == {len(history), len(history) - 1, len(history) - 2}
    event = found.events[0]
    without = codes.explain(found.item_id, history=[*history[: event.position - 1], *history[event.position :]], last=1)
    assert event.change == pytest.approx(found.score - without.score, abs=1e-4)


def test_without_its_only_event_there_is_nothing_to_compare_with(linear: Recommender) -> None:
    found = linear.explain(linear.log.items.ids[1], history=[linear.log.items.ids[0]])
    assert [event.change for event in found.events] == [None]
    assert np.isfinite(found.score or np.nan)


def test_what_cannot_be_explained(linear: Recommender) -> None:
    item = linear.log.items.ids[0]
    with pytest.raises(UserError, match="item `no such` is not in the catalogue of 40 items; give one of its ids"):
        linear.explain("no such", history=[item])
    with pytest.raises(UserError, match="comes from popularity and no event carries it; give a history"):
        linear.explain(item, user="nobody")
    with pytest.raises(UserError, match="last = 0 events cannot be left out in turn; give at least 1"):
        linear.explain(item, history=[item], last=0)
    with pytest.raises(UserError, match="give either `users` or `histories`"):
        linear.explain(item)
