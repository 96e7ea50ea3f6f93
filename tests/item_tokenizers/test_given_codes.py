from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsmith
from recsmith import Dataset
from recsmith.data import Catalogue
from recsmith.errors import ArtifactError, DataError, UserError
from recsmith.item_tokenizers.given import GivenCodes, GivenConfig

IDS = pl.Series("id", [1, 2, 3, 5])
TOKENS = {"0": ["<a_2>", "<b_10>"], "1": ["<a_2>", "<b_10>"], "2": ["<a_10>", "<b_9>"], "4": ["<a_2>", "<b_9>"], "7": ["<a_30>", "<b_9>"]}
REALDATA = os.environ.get("RECSMITH_DATA")


def written(folder: Path, ids: object, name: str = "ids.json") -> str:
    path = folder / name
    content = json.dumps(ids).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(path)


def given(item_ids: pl.Series = IDS, catalogue: Catalogue | None = None, **settings: object) -> GivenCodes:
    tokenizer = GivenCodes(GivenConfig.parse(settings))
    tokenizer.bind(item_ids, catalogue)
    return tokenizer


def rows(count: int) -> np.ndarray:
    return np.empty((count, 0), dtype=np.float32)


@pytest.mark.parametrize("name", ["ids.json", "ids.json.gz"])
def test_codes_of_a_file_with_collisions_told_apart(tmp_path: Path, name: str) -> None:
    tokenizer = given(path=written(tmp_path, TOKENS, name), index_base=-1)
    codes = tokenizer.fit(rows(4), seed=0)
    assert codes.sizes == (3, 2, 8)
    assert codes.table.tolist() == [[0, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert tokenizer.figures()["collision_rate"] == 0.5
    assert "sha256" in tokenizer.figures()["source"]


def test_keys_by_position_and_text_ids(tmp_path: Path) -> None:
    path = written(tmp_path, {"1": [7, 1], "2": [8, 1], "b": [9, 2]})
    assert given(pl.Series(["b", "z"]), path=path, key="position", index_base=1).fit(rows(2), seed=0).table[:, 0].tolist() == [0, 1]
    assert given(pl.Series(["b"]), path=path).fit(rows(1), seed=0).table[:, 0].tolist() == [2]


def test_codes_of_a_catalogue_column_and_of_parquet(tmp_path: Path) -> None:
    frame = pl.DataFrame({"item_id": [5, 3, 2, 1, 9], "title": list("edcba"), "sid": [[1, 1], [1, 2], [2, 1], [2, 1], None]})
    codes = given(catalogue=Catalogue(frame)).fit(rows(4), seed=0)
    assert codes.table.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 0]]
    frame.with_columns(pl.col("sid").alias("other")).write_parquet(tmp_path / "ids.parquet")
    path = str(tmp_path / "ids.parquet")
    np.testing.assert_array_equal(given(path=path, column="other").fit(rows(4), seed=0).table, codes.table)
    with pytest.raises(DataError, match=r"2 list columns, which of them holds ids is not clear; set `tokenizer\.column`"):
        given(path=path).fit(rows(4), seed=0)
    with pytest.raises(DataError, match=r"no list column `othr`; did you mean `other`"):
        given(path=path, column="othr").fit(rows(4), seed=0)


def test_new_items_take_the_codes_of_the_same_file(tmp_path: Path) -> None:
    tokenizer = given(path=written(tmp_path, TOKENS), index_base=-1)
    codes = tokenizer.fit(rows(4), seed=0)
    restored = GivenCodes(tokenizer.config)
    restored.load_state(tokenizer.state())
    assert restored.figures() == tokenizer.figures()
    restored.bind(pl.Series([8, 1]), None)
    assert restored.assign(rows(2), taken=codes).table.tolist() == [[2, 0, 0], [0, 1, 2]]
    assert len(restored.assign(rows(0), taken=codes)) == 0
    restored.bind(pl.Series([9]), None)
    with pytest.raises(DataError, match="lacks ids for 1 of 1 items, the first is item `9`"):
        restored.assign(rows(1), taken=codes)


def test_mistakes_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, TOKENS)
    with pytest.raises(DataError, match=r"lacks ids for 2 of 4 items, the first is item `3`.*index_base"):
        given(path=path).fit(rows(4), seed=0)
    with pytest.raises(UserError, match="3 rows of vectors for 4 bound items"):
        given(path=path, index_base=-1).fit(rows(3), seed=0)
    with pytest.raises(UserError, match="call bind"):
        GivenCodes().fit(rows(1), seed=0)
    with pytest.raises(DataError, match=r"no ids are given: set `tokenizer\.path`"):
        given().fit(rows(4), seed=0)
    with pytest.raises(DataError, match="does not exist"):
        given(path=str(tmp_path / "none.json")).fit(rows(4), seed=0)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        given(path=str(tmp_path / "broken.json")).fit(rows(4), seed=0)
    with pytest.raises(DataError, match="not a table of ids"):
        given(path=written(tmp_path, [["a"]], "list.json")).fit(rows(4), seed=0)
    with pytest.raises(DataError, match=r"ids of \[1, 2\] tokens, such as key `2`"):
        given(path=written(tmp_path, {"1": [1, 2], "2": [1]}, "ragged.json")).fit(rows(4), seed=0)
    with pytest.raises(UserError, match="read nothing yet"):
        GivenCodes().state()
    with pytest.raises(ArtifactError, match="lacks `tokens`"):
        GivenCodes().load_state({"figures": np.zeros(1, dtype=np.uint8)})


def test_recipe_with_published_ids_fits_saves_and_answers_without_texts(tmp_path: Path) -> None:
    events = [(user, (user + step) % 12 + 1, step) for user in range(20) for step in range(6)]
    data = Dataset.from_frame(pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row"), name="bare")
    small = {"dim": 16, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1}
    path = written(tmp_path, {str(item): [f"<a_{item % 3}>", f"<b_{item % 4}>"] for item in range(12)})
    settings = {"training": {"epochs": 1}, "model": small, "tokenizer": {"path": path}}
    recommender = recsmith.fit("tiger-published-ids", data, settings=settings)
    assert recommender.codes is not None
    assert recommender.codes.table[:3].tolist() == [[0, 0, 0], [1, 1, 0], [2, 2, 0]]
    assert recommender.card["title"] == "TIGER (published ids)"
    recommender.save(tmp_path / "run")
    Path(path).unlink()
    assert recsmith.load(tmp_path / "run").recommend(users=[0], k=3).equals(recommender.recommend(users=[0], k=3))
    with pytest.raises(DataError, match=r"does not exist; set `tokenizer\.path`"):
        recsmith.fit("tiger-published-ids", data, settings=settings)


@pytest.mark.realdata
@pytest.mark.skipif(not REALDATA, reason="RECSMITH_DATA names no folder with real data")
def test_published_ids_of_beauty() -> None:
    path = Path(str(REALDATA)) / "amazon-beauty" / "semantic_ids_letter.json.gz"
    codes = given(pl.Series(np.arange(1, 12_102)), path=str(path), index_base=-1).fit(rows(12_101), seed=0)
    assert codes.sizes[:-1] == (197, 256, 256, 256)
    assert (codes.table[:, -1] > 0).sum() == 13
