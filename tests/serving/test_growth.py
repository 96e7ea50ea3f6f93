"""New items without training: codes for models that generate them, neighbours for the others."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from recsmith.data import Dataset, Histories, ItemCodes
from recsmith.fitting import fit
from recsmith.models.rpg import Rpg, RpgConfig
from recsmith.recommender import Recommender
from recsmith.serving.generation import Generation
from recsmith.serving.growth import Growth, NeighbourScores, typed_column
from recsmith.serving.text_neighbours import TextNeighbours
from recsmith.training import to_batch

SMALL = {
    "training": {"epochs": 1},
    "encoder": {"name": "tfidf"},
    "tokenizer": {"levels": 2, "size": 4},
    "model": {"dim": 16, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1},
}


def shop(ids: list) -> Dataset:
    words = ["dragon castle sword", "rocket planet robot", "kiss flower summer"]
    catalogue = pl.DataFrame({"item_id": ids, "title": [f"{words[place % 3]} {place}" for place in range(len(ids))]})
    rows = [(user, ids[(user + 3 * step) % len(ids)], step) for user in range(24) for step in range(5)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return Dataset.from_frame(frame, catalogue=catalogue, name="shop")


NEW = [
    {"item_id": "new dragon", "title": "dragon sword", "attributes": {}},
    {"item_id": "another", "title": "robot planet", "attributes": {"colour": "red"}},
]


def test_a_model_that_generates_codes_generates_those_of_new_items() -> None:
    ids = list(range(15))  # numbers, while the new ids are text
    base = fit("tiger", shop(ids), settings=SMALL)
    grown, how = Growth(base).grow(NEW)
    assert how == "codes"
    assert grown.items == base.items + 2
    assert grown.codes is not None
    assert base.codes is not None
    np.testing.assert_array_equal(grown.codes.table[:15], base.codes.table)
    assert len(np.unique(grown.codes.table, axis=0)) == grown.items
    everything = grown.recommend(histories=[[str(ids[0])]], k=grown.items - 1)
    assert {"new dragon", "another"} <= set(everything["item_id"].cast(pl.String).to_list())
    assert len(grown.recommend(histories=[["new dragon"]], k=3)) == 3


@pytest.fixture(scope="module")
def scorer() -> Recommender:
    return fit("item-knn", shop([f"s{place:02d}" for place in range(15)]))


def test_a_new_item_is_scored_like_those_that_share_its_words(scorer: Recommender) -> None:
    grown, how = Growth(scorer).grow(NEW)
    assert how == "neighbours"
    generation = Generation("m", 1, grown, growth=Growth(scorer), how_new=how)
    old = Generation("m", 1, scorer, growth=Growth(scorer))
    history = ["s03"]
    before = dict(zip(*(part.tolist() for part in old.answer([old.session(15, history, include_seen=True)])[0][:2]), strict=True))
    items, scores, _ = generation.answer([generation.session(17, history, include_seen=True)])[0]
    after = dict(zip(items.tolist(), scores.tolist(), strict=True))
    assert {item: after[item] for item in before} == pytest.approx(before)
    dragons = [place for place in range(15) if place % 3 == 0]
    assert after[generation.index("new dragon")] == pytest.approx(np.mean([before[place] for place in dragons]), rel=0.2)
    assert generation.answered_by(generation.index("new dragon")) == "neighbours"
    assert generation.answered_by(generation.index("s03")) == "model"
    alike = generation.answer([generation.session(5, ["new dragon"])])[0]
    assert alike[2] == "model"


def test_growing_again_costs_nothing_and_old_items_are_known(scorer: Recommender) -> None:
    growth = Growth(scorer)
    assert growth.grow([{"item_id": "s01", "title": "other", "attributes": {}}]) == (scorer, "known")
    first, _ = growth.grow(NEW)
    assert growth.grow(NEW)[0] is first


def test_an_item_without_a_word_in_common_gets_no_score(scorer: Recommender) -> None:
    grown, how = Growth(scorer).grow([{"item_id": "odd", "title": "zzz", "attributes": {}}])
    assert how == "unscored"
    assert "odd" not in grown.recommend(histories=[["s03"]], k=15)["item_id"].to_list()
    assert len(grown.recommend(histories=[["s03", "odd"]], k=5)) == 5


def test_text_neighbours_are_those_of_a_dense_computation() -> None:
    texts = ["a b c", "a a d", "", "e f", "c d e f"]
    rows, cosines = TextNeighbours(texts).nearest(["a d", "unknown", "f f e"], 3)
    assert rows[0, 0] == 1
    assert rows[2, 0] == 3
    assert cosines[2, 0] == pytest.approx((1 + np.log(2) + 1) / np.sqrt(2 * (1 + (1 + np.log(2)) ** 2)))
    assert (cosines[1] == 0).all()
    assert (np.diff(cosines, axis=1) <= 0).all()


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1, "2", "x", None, True], pl.Int64, [1, 2, None, None, None]),
        ([True, "yes", None, False], pl.Boolean, [True, None, None, False]),
        (["a", ["b", 3], None], pl.List(pl.String), [["a"], ["b", "3"], None]),
        ([1.5, {"a": 1}, [2]], pl.Float64, [1.5, None, None]),
    ],
)
def test_values_become_columns(values: list, dtype: pl.DataType, expected: list) -> None:
    assert typed_column("c", values, dtype).to_list() == expected


def test_a_model_that_looks_at_a_part_of_the_catalogue_lends_scores_of_all() -> None:
    codes = ItemCodes(np.stack(np.unravel_index(np.arange(60), (4, 4, 4)), axis=1), (4, 4, 4))
    walk = {"dim": 8, "heads": 1, "search": "graph", "beams": 2, "edges": 2, "walk_steps": 1}
    rpg = Rpg(RpgConfig.parse(walk), items=60, codes=codes).eval()
    rows, weights = torch.tensor([[50, 51], [52, 53]]), torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    batch = to_batch(Histories.from_rows([[1, 2, 60], [3]]))
    with torch.inference_mode():
        scores, known = (
            NeighbourScores(rpg, 60, rows, weights).score(batch),
            rpg.score_all(to_batch(Histories.from_rows([[1, 2, 50], [3]]))),
        )
    torch.testing.assert_close(scores[:, :60], known)
    torch.testing.assert_close(scores[:, 60:], torch.stack([known[:, 50], known[:, 52:54].mean(dim=1)], dim=1))
