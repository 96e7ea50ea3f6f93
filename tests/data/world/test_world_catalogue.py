"""The works of the world: hand-written and composed."""

from __future__ import annotations

import time

import polars as pl
import pytest

from recsmith.data.world import GENRES, WorldParameters, real_works, world
from recsmith.data.world.catalogue import make_shelf
from recsmith.data.world.composition import compose_works
from recsmith.data.world.words import NOUNS


@pytest.fixture(scope="module")
def real() -> pl.DataFrame:
    return real_works()


def test_at_least_400_real_works_of_both_kinds(real: pl.DataFrame) -> None:
    kinds = dict(real["kind"].value_counts().iter_rows())
    assert len(real) >= 400
    assert min(kinds["book"], kinds["film"]) >= 150
    assert set(kinds) == {"book", "film"}


def test_no_field_is_empty(real: pl.DataFrame) -> None:
    required = real.drop("series", "volume")
    assert sum(required.null_count().row(0)) == 0
    for name in ("title", "maker", "description"):
        assert (real[name] == real[name].str.strip_chars()).all()
        assert real[name].str.len_chars().min() > 0
    assert (real["series"].is_null() == real["volume"].is_null()).all()


def test_titles_and_descriptions_are_unique_and_short(real: pl.DataFrame) -> None:
    assert real["title"].is_unique().all()
    assert real["description"].is_unique().all()
    assert real["description"].str.len_chars().max() <= 160
    assert real["description"].str.ends_with(".").all()
    words = real["description"].str.split(" ").list.len()
    assert words.min() >= 9
    assert words.max() <= 20


def test_years_are_plausible(real: pl.DataFrame) -> None:
    films = real.filter(pl.col("kind") == "film")["year"]
    books = real.filter(pl.col("kind") == "book")["year"]
    assert films.min() >= 1920
    assert books.min() >= 1600
    assert real["year"].max() <= 2024


def test_genres_come_from_the_list(real: pl.DataFrame) -> None:
    assert set(real["genres"].explode()) == set(GENRES)
    assert real["genres"].list.len().min() >= 1
    assert real["genres"].list.len().max() <= 3
    assert (real["genres"].list.n_unique() == real["genres"].list.len()).all()
    assert real["genres"].list.first().value_counts()["count"].min() >= 15


def test_volumes_of_a_series_count_from_one_in_order_of_years(real: pl.DataFrame) -> None:
    series = real.drop_nulls("series").sort("series", "volume").group_by("series", maintain_order=True)
    count = 0
    for _, volumes in series:
        count += 1
        assert volumes["volume"].to_list() == list(range(1, len(volumes) + 1))
        assert volumes["year"].is_sorted()
        assert len(volumes) > 1
    assert count >= 30


def test_nouns_of_composed_titles_belong_to_one_genre() -> None:
    nouns = [noun for genre in GENRES for noun in NOUNS[genre].split()]
    assert len(nouns) == len(set(nouns)) == 12 * len(GENRES)


def test_100_000_composed_works_are_unique_and_quick(real: pl.DataFrame) -> None:
    started = time.perf_counter()
    works = compose_works(100_000, WorldParameters(), 0)
    assert time.perf_counter() - started < 10
    assert works.columns == real.columns
    assert works.schema == real.schema
    assert works["title"].is_unique().all()
    assert works["description"].is_unique().all()
    assert works["description"].str.len_chars().max() <= 160
    assert works["year"].is_between(1900, 2024).all()
    assert sum(works.drop("series", "volume").null_count().row(0)) == 0
    assert set(works["title"]).isdisjoint(real["title"])


def test_a_world_of_100_000_items() -> None:
    made = world(users=200, items=100_000, events=2000)
    frame = made.catalogue.frame
    assert frame["item_id"].is_sorted()
    assert frame["composed"].sum() == 100_000 - len(real_works())
    assert frame["title"].is_unique().all()


def test_columns_of_the_shop_are_typed() -> None:
    frame = world(users=20, items=800, events=100).catalogue.frame
    assert frame.schema["price"] == pl.Float64
    assert frame.schema["stock"] == pl.Int64
    assert frame["price"].is_between(1, 40).all()
    assert 0 < (frame["stock"] == 0).sum() < 100
    assert sum(frame.drop("series", "volume").null_count().row(0)) == 0
    assert frame["age_rating"].n_unique() == 5
    assert set(frame.filter(pl.col("genres").list.first() == "children")["age_rating"]) <= {"all", "6+"}


def test_next_volumes_and_bundles_are_consistent() -> None:
    shelf = make_shelf(1500, WorldParameters(), 0)
    frame = shelf.frame
    for item in (shelf.next_volume >= 0).nonzero()[0].tolist():
        following = int(shelf.next_volume[item])
        assert frame["series"][following] == frame["series"][item]
        assert frame["volume"][following] == frame["volume"][item] + 1
    for number, members in enumerate(shelf.bundle_items):
        assert (shelf.bundle[members] == number).all()
        assert len(set(shelf.genre[members])) == 1


def test_a_series_cut_by_the_size_has_no_next_volume() -> None:
    for size in range(60, 80):
        shelf = make_shelf(size, WorldParameters(), 0)
        assert shelf.next_volume.max() < size
