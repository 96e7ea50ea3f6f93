"""Indexings without item vectors: independent, sequential, collaborative, by category, hybrid."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from recsmith.data import Catalogue, Histories, ItemCodes
from recsmith.errors import DataError, UserError
from recsmith.item_tokenizers import TOKENIZERS
from recsmith.protocols import BoundItemTokenizer, ItemTokenizer, Observer
from recsmith.testing.tokenizers import assert_distinct, assert_same_codes

ITEMS = 60


def communities(count: int = 4, *, rows: int = 400) -> Histories:
    """Each row keeps to the items whose number leaves the same rest when divided by `count`; item ITEMS - 1 is met by nobody."""
    random = np.random.default_rng(0)
    parts = [np.arange(part, ITEMS - 1, count) for part in range(count)]
    return Histories.from_rows([random.choice(parts[row % count], 5, replace=False) for row in range(rows)])


def catalogue() -> Catalogue:
    genres = [["film", "noir"], ["film"], ["noir", "film"], [], ["song"], ["film", "rare"]]
    return Catalogue(pl.DataFrame({"item_id": range(ITEMS + 4), "genres": [genres[item % 6] for item in range(ITEMS + 4)]}))


def make(name: str, **settings: Any) -> Any:
    tokenizer = TOKENIZERS.get(name)(TOKENIZERS.get(name).Config.parse(settings))
    if isinstance(tokenizer, Observer):
        tokenizer.observe(communities())
    tokenizer.bind(pl.Series("item_id", range(ITEMS)), catalogue())
    return tokenizer


def fit(tokenizer: Any) -> ItemCodes:
    return tokenizer.fit(np.empty((ITEMS, 0), dtype=np.float32), seed=0)


NAMES = ["independent", "sequential", "collaborative", "binary", "categories", "hybrid"]


@pytest.mark.parametrize("name", NAMES)
def test_every_item_has_codes_of_its_own_and_the_same_again(name: str) -> None:
    tokenizer = make(name)
    assert isinstance(tokenizer, ItemTokenizer)
    assert isinstance(tokenizer, BoundItemTokenizer)
    codes = fit(tokenizer)
    assert len(codes) == ITEMS
    assert_distinct(codes)
    assert_same_codes(codes, fit(make(name)))
    assert tokenizer.figures()["items"] == ITEMS


@pytest.mark.parametrize("name", NAMES)
def test_state_round_trip(name: str) -> None:
    tokenizer = make(name)
    codes = fit(tokenizer)
    restored = type(tokenizer)(tokenizer.config)
    restored.load_state({key: array.copy() for key, array in tokenizer.state().items()})
    assert restored.figures() == tokenizer.figures()
    assert len(restored.assign(np.empty((0, 0)), taken=codes)) == 0


@pytest.mark.parametrize("name", ["sequential", "categories", "hybrid"])
def test_new_items_get_codes_where_the_indexing_has_some(name: str) -> None:
    tokenizer = make(name, **({"first": "categories", "second": "sequential"} if name == "hybrid" else {}))
    codes = fit(tokenizer)
    tokenizer.bind(pl.Series("item_id", range(ITEMS, ITEMS + 4)), catalogue())
    added = tokenizer.assign(np.empty((4, 0), dtype=np.float32), taken=codes)
    assert added.sizes == codes.sizes
    assert_distinct(ItemCodes(np.concatenate([codes.table, added.table]), codes.sizes))


@pytest.mark.parametrize(("name", "reason"), [("independent", "a learned token of its own"), ("binary", "nobody has met them yet")])
def test_new_items_are_refused_where_it_has_none(name: str, reason: str) -> None:
    tokenizer = make(name)
    codes = fit(tokenizer)
    with pytest.raises(UserError, match=f"{reason}; fit again"):
        tokenizer.assign(np.empty((1, 0), dtype=np.float32), taken=codes)


def test_independent_codes_are_the_items() -> None:
    codes = fit(make("independent"))
    assert codes.table[:, 0].tolist() == list(range(ITEMS))
    assert not codes.table[:, 1].any()


def test_sequential_codes_count_items_in_order_of_first_events() -> None:
    tokenizer = TOKENIZERS.get("sequential")(TOKENIZERS.get("sequential").Config.parse({"levels": 2, "room": 1.0}))
    tokenizer.observe(Histories.from_rows([[5, 2], [2, 8, 5], [], [0]]))
    table = tokenizer.fit(np.empty((9, 0)), seed=0).table
    assert (table[:, 0] * 3 + table[:, 1]).tolist() == [3, 4, 1, 5, 6, 0, 7, 8, 2]


def test_sequential_codes_run_out_with_a_clear_word() -> None:
    tokenizer = make("sequential", levels=1, room=1.0)
    codes = fit(tokenizer)
    with pytest.raises(UserError, match="1 new items do not fit: 0 numbers of 60 are left"):
        tokenizer.assign(np.empty((1, 0)), taken=codes)


def test_collaborative_codes_find_the_communities() -> None:
    codes = fit(make("collaborative", size=4, levels=2))
    first = codes.table[: ITEMS - 1, 0]
    parts = np.arange(ITEMS - 1) % 4
    assert all(len(set(first[parts == part])) == 1 for part in range(4))
    assert len(set(first)) == 4


def test_binary_codes_of_a_community_differ_in_few_bits() -> None:
    tokenizer = make("binary", levels=2, bits=4)
    codes = fit(tokenizer)
    assert codes.sizes[:2] == (16, 16)
    assert not codes.table[ITEMS - 1, :2].any()  # met by nobody
    bits = (codes.table[: ITEMS - 1, :2, None] >> np.arange(4) & 1).reshape(ITEMS - 1, 8)
    apart = (bits[:, None] != bits[None, :]).sum(2)
    same = np.arange(ITEMS - 1)[:, None] % 4 == np.arange(ITEMS - 1)[None, :] % 4
    assert apart[~same].mean() > apart[same].mean() + 1
    assert tokenizer.address([11, 3, 0]) == "11.3"


def test_category_codes_are_paths_from_the_common_to_the_rare() -> None:
    tokenizer = make("categories", levels=2)
    codes = fit(tokenizer).table
    assert (codes[0, :2] == codes[2, :2]).all()
    assert codes[0, 0] == codes[1, 0] == codes[5, 0] != codes[4, 0]
    assert codes[1, 1] == 0
    assert not codes[3, :2].any()
    assert tokenizer.figures()["distinct_prefixes"] == 5


def test_given_order_keeps_the_hierarchy_of_the_catalogue() -> None:
    codes = fit(make("categories", levels=2, order="given")).table
    assert codes[0, 0] != codes[2, 0]


def test_hybrid_codes_are_those_of_both() -> None:
    hybrid = make("hybrid", first="categories", second="sequential", second_settings={"levels": 2})
    codes, first = fit(hybrid), fit(make("categories"))
    assert codes.sizes[:3] == first.sizes[:3]
    np.testing.assert_array_equal(codes.table[:, :3], first.table[:, :3])
    assert codes.levels == 3 + 2 + 1


@pytest.mark.parametrize("name", ["sequential", "collaborative", "binary"])
def test_without_histories_it_says_what_to_do(name: str) -> None:
    tokenizer = TOKENIZERS.get(name)()
    with pytest.raises(UserError, match=r"call observe\(histories\) before fit"):
        fit(tokenizer)


def test_histories_of_other_items_are_refused() -> None:
    tokenizer = make("sequential")
    with pytest.raises(UserError, match="there are 10 items only"):
        tokenizer.fit(np.empty((10, 0)), seed=0)


def test_a_catalogue_without_categories_is_refused() -> None:
    tokenizer = make("categories")
    tokenizer.bind(pl.Series("item_id", range(ITEMS)), Catalogue(pl.DataFrame({"item_id": range(ITEMS), "title": ["a"] * ITEMS})))
    with pytest.raises(DataError, match="has no column of categories"):
        fit(tokenizer)


def test_a_misspelt_column_is_refused_with_a_suggestion() -> None:
    with pytest.raises(DataError, match="no column of categories `genre`; did you mean"):
        fit(make("categories", column="genre"))
