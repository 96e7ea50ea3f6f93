"""`recommend_slate`: for models that fill slates, and for those that answer with their top list."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import recsmith
from recsmith.data import Dataset
from recsmith.decoding import AtMost, Diverse, Pin, Sampled, must_include
from recsmith.errors import UserError
from recsmith.recommender import Recommender

SMALL = {"training": {"epochs": 2}, "model": {"dim": 16, "hidden": 16, "latent": 4}}
COLUMNS = ["user_id", "slot", "item_id", "score", "log_likelihood"]


@pytest.fixture(scope="module")
def data() -> Dataset:
    rows = [(user, (user + step) % 12, step) for user in range(40) for step in range(8)]
    titles = pl.DataFrame({"item_id": list(range(12)), "title": [f"Chapter {i}" for i in range(12)], "brand": [i % 3 for i in range(12)]})
    return Dataset.from_frame(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"), catalogue=titles, name="cycle")


@pytest.fixture(scope="module")
def slates(data: Dataset) -> Recommender:
    return recsmith.fit("list-cvae", data, settings=SMALL)


@pytest.fixture(scope="module")
def lists(data: Dataset) -> Recommender:
    return recsmith.fit("item-knn", data)


def test_a_slate_model_answers_slot_by_slot(slates: Recommender) -> None:
    table = slates.recommend_slate(users=[0, 1], size=3)
    assert table.columns == COLUMNS
    assert table["slot"].to_list() == [1, 2, 3] * 2
    for (user,), slate in table.group_by("user_id"):
        assert slate["item_id"].n_unique() == 3
        assert not set(slate["item_id"]) & set(slates.history(int(user)))
        assert slate["log_likelihood"].unique().to_list() == pytest.approx([slate["score"].sum()], rel=1e-4)


def test_another_model_answers_with_its_top_list_under_the_same_rules(lists: Recommender) -> None:
    rules = [AtMost(1, "brand")]
    slate, best = lists.recommend_slate(users=[3], size=3, rules=rules), lists.recommend(users=[3], k=3, rules=rules)
    assert slate.columns == COLUMNS
    assert slate["item_id"].to_list() == best["item_id"].to_list()
    assert slate["log_likelihood"].null_count() == 3
    drawn = lists.recommend_slate(users=[3], size=3, selection=Sampled(seed=1))
    assert drawn["log_likelihood"].null_count() == 0
    assert (drawn["log_likelihood"] <= 0).all()


@pytest.mark.parametrize("kind", ["slates", "lists"])
def test_strangers_get_what_is_popular(kind: str, request: pytest.FixtureRequest) -> None:
    recommender: Recommender = request.getfixturevalue(kind)
    popular = np.argsort(-recommender.popularity, kind="stable")[:2].tolist()
    for table in (recommender.recommend_slate(users=[999], size=2), recommender.recommend_slate(histories=[[], [5]], size=2)):
        assert table["item_id"].to_list()[:2] == popular
        assert table["log_likelihood"].to_list()[:2] == [None, None]


def test_rules_and_limits_hold(slates: Recommender) -> None:
    rules = [AtMost(2, "brand"), Pin(11, 1), must_include([4])]
    table = slates.recommend_slate(histories=[[0, 1], [2, 3]], size=4, rules=rules, deny=[10], selection=Sampled(seed=1))
    for _, slate in table.group_by("user_id"):
        items = slate.sort("slot")["item_id"].to_list()
        assert items[0] == 11
        assert 4 in items
        assert 10 not in items
        assert max(np.bincount(np.array(items) % 3)) <= 2
    assert set(slates.recommend_slate(histories=[[0]], size=2, allow=[5, 6])["item_id"]) == {5, 6}


def test_another_seed_another_slate(slates: Recommender) -> None:
    drawn = [slates.recommend_slate(users=[0], size=4, selection=Sampled(seed=seed))["item_id"].to_list() for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len({tuple(items) for items in drawn}) > 1


def test_slates_are_an_answer_that_can_be_evaluated(slates: Recommender) -> None:
    cases = slates.split().test
    answer = slates.answer_slates(cases, 3)
    assert answer.items.shape == (len(cases), 3)
    assert not slates.recipe.split.repeats_items
    assert all(not set(items) & set(cases.histories.row(row)) for row, items in enumerate(answer.items.tolist()))


def test_a_saved_run_fills_the_same_slates(slates: Recommender, tmp_path) -> None:
    slates.save(tmp_path / "run")
    again = recsmith.load(tmp_path / "run").recommend_slate(users="all", size=3)
    assert again.equals(slates.recommend_slate(users="all", size=3))


def test_mistakes(slates: Recommender, lists: Recommender) -> None:
    with pytest.raises(UserError, match="size = 13 does not fit a catalogue of 12 items; allowed: 1 to 12"):
        slates.recommend_slate(users=[0], size=13)
    with pytest.raises(UserError, match="size = 0 does not fit"):
        lists.recommend_slate(users=[0], size=0)
    with pytest.raises(UserError, match=r"wanted = 1\.5 does not work; give a response between 0"):
        slates.recommend_slate(users=[0], wanted=1.5)
    with pytest.raises(UserError, match="does not learn from responses, so it cannot be asked for one; leave `wanted` out"):
        lists.recommend_slate(users=[0], wanted=1.0)
    with pytest.raises(UserError, match="fills slates slot by slot and has no beams to keep apart; use Sampled"):
        slates.recommend_slate(users=[0], selection=Diverse(2))
    with pytest.raises(UserError, match="give either `users` or `histories`"):
        slates.recommend_slate()
