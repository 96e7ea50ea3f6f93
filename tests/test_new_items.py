"""Vectors from fit to folder and back, new items without training, and runs that start from other runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import recsmith
from recsmith import Dataset
from recsmith.data import Catalogue
from recsmith.errors import ConfigError, DataError, UserError
from recsmith.new_items import add_items

ENCODER = {"name": "tfidf", "dim": 32}
SMALL: dict[str, Any] = {"encoder": ENCODER, "training": {"epochs": 1}, "model": {"dim": 16, "layers": 1, "hidden": 16, "experts": 2}}
TITLES = [f"{colour} {thing}" for colour in ("red", "blue") for thing in ("car", "bus", "train", "bike", "van")]


@pytest.fixture(scope="module")
def data() -> Dataset:
    """People keep to one colour."""
    random = np.random.default_rng(0)
    rows = [(user, int(item) + 5 * (user % 2), time) for user in range(30) for time, item in enumerate(random.permutation(5)[:4])]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return Dataset.from_frame(frame, catalogue=pl.DataFrame({"item_id": range(10), "title": TITLES}), name="colours")


NEW = Catalogue(pl.DataFrame({"item_id": [13, 12, 3], "title": ["blue car", "red tram", "ignored"], "price": [1.0, 2.0, 3.0]}))


@pytest.mark.parametrize("recipe", ["content-knn", "unisrec", "alpharec"])
def test_new_items_are_answered_by_their_texts(recipe: str, data: Dataset, tmp_path: Path) -> None:
    settings = {**SMALL, "model": SMALL["model"] if recipe == "unisrec" else {}}
    before = recsmith.fit(recipe, data, settings=settings)
    after = add_items(before, NEW)
    assert after.items == 12
    assert after.titles([13, 12, 3]) == ["blue car", "red tram", "red bike"]
    assert before.items == 10
    after.save(tmp_path / "run")
    loaded = recsmith.load(tmp_path / "run")
    histories = [[0, 1], [5, 6]]
    table = loaded.recommend(histories=histories, k=10)
    assert table.equals(after.recommend(histories=histories, k=10))
    if recipe == "content-knn":
        twin = dict(table.filter(pl.col("user_id") == 0)[["item_id", "score"]].rows())
        assert twin[13] == pytest.approx(twin[5], abs=1e-5)  # the same text as item 5, in the vectors of the fit
        assert (
            table.filter(pl.col("user_id") == 1)["item_id"].to_list()[3] == 13 or 13 in table.filter(pl.col("user_id") == 1)["item_id"][:4]
        )
    old = before.recommend(histories=histories, k=8, allow=range(10))
    assert loaded.recommend(histories=histories, k=8, allow=range(10))["item_id"].to_list() == old["item_id"].to_list()


def test_new_items_that_cannot_be_added_are_named(data: Dataset) -> None:
    with pytest.raises(UserError, match="learned something for each item, so new items need another fit"):
        add_items(recsmith.fit("ease", data), NEW)
    known = Catalogue(pl.DataFrame({"item_id": [1], "title": ["red bus"]}))
    with pytest.raises(DataError, match="none of the 1 items is new"):
        add_items(recsmith.fit("content-knn", data, settings={"encoder": ENCODER}), known)


def test_vectors_made_elsewhere_reach_the_model(data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "pictures.parquet"
    pl.DataFrame({"item_id": range(10), "vector": np.eye(10)[:, :10].tolist()}).write_parquet(path)
    recommender = recsmith.fit("content-knn", data, settings={"encoder": {"name": f"file:{path}"}})
    assert np.array_equal(recommender.vectors, np.eye(10, dtype=np.float32))
    assert recommender.card["encoder"]["name"] == f"file:{path}"
    with pytest.raises(UserError, match="vectors that were made elsewhere"):
        add_items(recommender, NEW)


def test_a_run_starts_from_another_run(data: Dataset, tmp_path: Path) -> None:
    first = recsmith.fit("unisrec", data, settings=SMALL, out=tmp_path / "first")
    frozen = {**SMALL, "start": {"run": str(tmp_path / "first")}, "model": {**SMALL["model"], "tuned": "adaptor"}}
    second = recsmith.fit("unisrec", data, settings=frozen)
    weights = first.model.state_dict()
    assert all(np.array_equal(value, weights[name]) for name, value in second.model.state_dict().items() if name.startswith("encoder"))
    assert second.card["start"]["weights taken"] == len(weights)
    assert second.card["start"]["weights left random"] == []


def test_starts_that_do_not_fit_are_named(data: Dataset, tmp_path: Path) -> None:
    recsmith.fit("unisrec", data, settings=SMALL, out=tmp_path / "first")
    start = {"start": {"run": str(tmp_path / "first")}}
    with pytest.raises(UserError, match=r"holds the model `unisrec`, which cannot start `zesrec`"):
        recsmith.fit("zesrec", data, settings={"encoder": ENCODER, **start})
    with pytest.raises(UserError, match=r"fitted on vectors of the encoder .* use the same encoder"):
        recsmith.fit("unisrec", data, settings={**SMALL, **start, "encoder": {"name": "tfidf", "dim": 16}})
    with pytest.raises(ConfigError, match=r"`start.items` = 'pca' needs item vectors; add a section \[encoder\]"):
        recsmith.fit("sasrec", data, settings={"start": {"items": "pca"}})


def test_item_embeddings_start_from_texts(data: Dataset) -> None:
    settings = {"encoder": ENCODER, "training": {"epochs": 1, "learning_rate": 1e-9}, "model": {"dim": 4, "heads": 1, "layers": 1}}
    model: Any = recsmith.fit("llm2sequential", data, settings=settings).model
    vectors = model.items.weight.detach().numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    same = (unit[:5] @ unit[:5].T).mean()
    assert same > (unit[:5] @ unit[5:].T).mean() + 0.5
