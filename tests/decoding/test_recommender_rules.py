"""Rules, drawn lists and diverse beams through `Recommender.recommend`, for a model that scores and one that generates."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from recsmith.building import build_model
from recsmith.data import Dataset, ItemCodes, popularity
from recsmith.decoding import Allow, AtMost, Boost, Deny, Diverse, InStock, Items, OneOf, Pin, Sampled, bind_rules
from recsmith.errors import UserError
from recsmith.nn.packed_linear import can_pack
from recsmith.recipe import load_recipe
from recsmith.recommender import Recommender

ITEMS, USERS = 30, 8


SMALL = {
    "popularity": {},
    "tiger": {"dim": 8, "heads": 1, "head_dim": 8, "ff_dim": 8, "encoder_layers": 1, "decoder_layers": 1},
    "rpg": {"dim": 8, "heads": 1, "hidden": 8, "search": "graph", "beams": 2, "edges": 2, "walk_steps": 1},
}


@pytest.fixture(scope="module", params=["popularity", "tiger", "rpg"])
def recommender(request: pytest.FixtureRequest) -> Recommender:
    random = np.random.default_rng(0)
    events = [(user, int(item)) for user in range(USERS) for item in random.choice(ITEMS, 4, replace=False)]
    events += [(USERS, item) for item in range(ITEMS - 1)]
    shop = pl.DataFrame(
        {
            "item_id": np.arange(ITEMS),
            "title": [f"Thing {item}" for item in range(ITEMS)],
            "brand": [f"b{item % 5}" for item in range(ITEMS)],
            "stock": [int(item % 4 > 0) for item in range(ITEMS)],
        }
    )
    data = Dataset.from_frame(pl.DataFrame(events, schema=["user_id", "item_id"], orient="row"), catalogue=shop, name="shop")
    recipe = load_recipe(request.param, settings={"model": SMALL[request.param]})
    log = data.log()
    table = np.stack(np.unravel_index(random.permutation(64)[: len(log.items)], (4, 4, 4)), axis=1).astype(np.int64)
    codes = None if request.param == "popularity" else ItemCodes(table, (4, 4, 4))
    counts = popularity(log.histories, len(log.items))
    torch.manual_seed(0)
    model = build_model(recipe, items=len(log.items), codes=codes).eval()
    if codes is None:
        model.solve(log.histories)
    return Recommender(recipe=recipe, model=model, log=log, popularity=counts, catalogue=data.catalogue, codes=codes)


def lists(table: pl.DataFrame) -> dict[int, list[int]]:
    return {int(user): rows["item_id"].to_list() for (user,), rows in table.group_by("user_id", maintain_order=True)}


def test_rules_hold_for_known_people_strangers_and_histories(recommender: Recommender) -> None:
    rules = [Allow(InStock()), Deny(OneOf("brand", ["b1"])), AtMost(2, "brand"), Boost(Items([26]), add=90.0), Pin(27, 2)]
    for table in (
        recommender.recommend(users=[0, 1, 999], k=6, rules=rules),
        recommender.recommend(histories=[[3, 4], []], k=6, rules=rules),
    ):
        for user, items in lists(table).items():
            assert all(item % 4 and item % 5 != 1 for item in items), (user, items)
            assert np.bincount(np.array(items) % 5).max() <= 2
            assert len(items) == 6
            seen = user in (0, 1) and 27 in recommender.history(user)
            assert seen or items[1] == 27


def test_each_row_may_have_rules_of_its_own(recommender: Recommender) -> None:
    only = [bind_rules([Allow(OneOf("brand", [brand]))], recommender.item_table) for brand in ("b1", "b2")]
    answer = lists(recommender.recommend(histories=[[3], []], k=3, rules=only))
    assert {item % 5 for item in answer[0]} == {1}
    assert {item % 5 for item in answer[1]} == {2}
    with pytest.raises(UserError, match="2 bound rules for 1 rows"):
        recommender.recommend(histories=[[3]], k=3, rules=only)


def test_newer_stock_counts_at_once(recommender: Recommender) -> None:
    table = recommender.item_table.updated(pl.DataFrame({"item_id": np.arange(ITEMS), "stock": [int(item == 7) for item in range(ITEMS)]}))
    answer = recommender.recommend(histories=[[3]], k=3, rules=bind_rules([Allow(InStock())], table))
    assert answer["item_id"].to_list() == [7]


def test_drawn_lists_depend_on_the_seed_only(recommender: Recommender) -> None:
    def draw(seed: int) -> list[int]:
        return recommender.recommend(users=[2], k=5, selection=Sampled(2.0, seed=seed))["item_id"].to_list()

    assert draw(1) == draw(1)
    assert len({tuple(draw(seed)) for seed in range(6)}) > 1
    assert not set(draw(3)) & set(recommender.history(2))


def test_diverse_beams_are_for_models_that_generate(recommender: Recommender) -> None:
    if recommender.recipe.name != "tiger":
        with pytest.raises(UserError, match="scores items and has no beams to keep apart"):
            recommender.recommend(users=[2], k=5, selection=Diverse())
        return
    items = recommender.recommend(users=[2], k=4, selection=Diverse(4, penalty=50.0))["item_id"]
    rows = recommender.log.items.indices(items)
    assert len(set(recommender.codes.table[rows, 0].tolist())) == 4


def test_the_chosen_weights_give_99_of_100_items_of_the_trained_ones(recommender: Recommender) -> None:
    faster, name, tried = recommender.accelerated(k=5)
    packs = can_pack() and recommender.recipe.name != "popularity"  # which has no layers
    assert set(tried) == {"as trained", "packed fp32", "packed bf16"} if packs else {"as trained"}
    assert tried["as trained"].overlap == 1
    both = [lists(own.recommend(users="all", k=5)) for own in (recommender, faster)]
    shared = [len(set(both[0][user]) & set(both[1][user])) / len(both[0][user]) for user in both[0]]
    assert np.mean(shared) >= 0.99
    assert tried[name].overlap >= 0.99
    assert not packs or tried["packed fp32"].overlap >= 0.99
    assert name == min((known for known in tried if tried[known].overlap >= 0.99), key=lambda known: tried[known].seconds)
