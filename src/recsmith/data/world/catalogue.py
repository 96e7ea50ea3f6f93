"""The catalogue of the world: what stands in its table, and the arrays that the simulation computes with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsmith.data.catalogue import Kind
from recsmith.data.world import words
from recsmith.data.world.composition import compose_works
from recsmith.data.world.parameters import ERA_STARTS, GENRES, KINDS, WorldParameters
from recsmith.data.world.works import real_works
from recsmith.seeding import generator

CATALOGUE_KINDS: dict[str, Kind] = {
    "title": "text", "maker": "category", "year": "number", "kind": "category", "genres": "list", "series": "category",
    "volume": "number", "description": "text", "price": "number", "stock": "number", "provider": "category",
    "region": "category", "age_rating": "category",
}  # fmt: skip
"""What the columns of the catalogue hold."""


@dataclass(frozen=True)
class Shelf:
    """The works as arrays; position = item index = position in ascending order of item id."""

    frame: pl.DataFrame
    """The table: item_id, the columns of `CATALOGUE_KINDS`, composed (bool)."""
    genre: np.ndarray
    """Main genre, index into `GENRES`, int64 `[item]`."""
    cluster: np.ndarray
    """Taste cluster, int64 `[item]`."""
    popularity: np.ndarray
    """Weight of the work in draws, positive, float64 `[item]`."""
    next_volume: np.ndarray
    """Item index of the next volume, -1 where there is none, int64 `[item]`."""
    bundle: np.ndarray
    """Bundle of complements, -1 for none, int64 `[item]`."""
    bundle_items: np.ndarray
    """Members of each bundle, int64 `[bundle, bundle_size]`."""
    cluster_genre: np.ndarray
    """Main genre of each cluster, int64 `[cluster]`."""
    cluster_kind: np.ndarray
    """Kind of each cluster, int64 `[cluster]`."""
    cluster_era: np.ndarray
    """Era of each cluster, 0 … 2, int64 `[cluster]`."""
    cluster_popularity: np.ndarray
    """Sum of the popularity of the cluster's works, float64 `[cluster]`."""

    def __len__(self) -> int:
        return len(self.genre)


def make_shelf(items: int, parameters: WorldParameters, seed: int) -> Shelf:
    """The first `items` works: hand-written ones first, then composed ones."""
    works = _works(items, parameters, seed)
    genre = _index(works["genres"].list.first(), GENRES)
    kind = _index(works["kind"], KINDS)
    era = np.searchsorted(np.array(ERA_STARTS), works["year"].to_numpy(), side="right")
    keys, cluster = np.unique((genre * len(KINDS) + kind) * 3 + era, return_inverse=True)
    popularity = _popularity(works["composed"].to_numpy(), parameters, seed)
    bundle, bundle_items = _bundles(genre, parameters, seed)
    attributes = _attributes(genre, kind, works, seed)
    width = max(5, len(str(items - 1)))
    ids = pl.select(item_id=pl.format("i{}", pl.int_range(items).cast(pl.String).str.zfill(width)))
    return Shelf(
        frame=pl.concat([ids, works.drop("composed"), attributes, works.select("composed")], how="horizontal"),
        genre=genre,
        cluster=cluster,
        popularity=popularity,
        next_volume=_next_volumes(works),
        bundle=bundle,
        bundle_items=bundle_items,
        cluster_genre=keys // (3 * len(KINDS)),
        cluster_kind=keys // 3 % len(KINDS),
        cluster_era=keys % 3,
        cluster_popularity=np.bincount(cluster, weights=popularity),
    )


def _works(items: int, parameters: WorldParameters, seed: int) -> pl.DataFrame:
    real = real_works().head(items).with_columns(composed=pl.lit(False))
    if items <= len(real):
        return real
    return pl.concat([real, compose_works(items - len(real), parameters, seed).with_columns(composed=pl.lit(True))])


def _index(values: pl.Series, allowed: tuple[str, ...]) -> np.ndarray:
    return values.replace_strict(list(allowed), list(range(len(allowed))), return_dtype=pl.Int64).to_numpy()


def _popularity(composed: np.ndarray, parameters: WorldParameters, seed: int) -> np.ndarray:
    """Zipf weights by a random rank in which hand-written works tend to stand before composed ones."""
    random = generator(seed, "world", "popularity")
    order = np.argsort(random.random(len(composed)) + 0.4 * composed, kind="stable")
    weights = np.empty(len(composed))
    weights[order] = np.arange(1, len(composed) + 1) ** -parameters.popularity_exponent
    return weights


def _next_volumes(works: pl.DataFrame) -> np.ndarray:
    volumes = works.select("series", "volume").with_row_index("item").drop_nulls()
    following = volumes.select("series", pl.col("volume") - 1, following="item")
    joined = volumes.join(following, on=["series", "volume"], how="inner")
    result = np.full(len(works), -1, dtype=np.int64)
    result[joined["item"].to_numpy()] = joined["following"].to_numpy()
    return result


def _bundles(genre: np.ndarray, parameters: WorldParameters, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Works of one main genre thrown together at random, book beside film, old beside new."""
    random = generator(seed, "world", "bundles")
    size = parameters.bundle_size
    order = np.lexsort((random.random(len(genre)), genre))
    counts = np.bincount(genre, minlength=len(GENRES))
    rank = np.arange(len(genre)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.flatnonzero((rank % size == 0) & (rank + size <= np.repeat(counts, counts)))
    starts = starts[random.random(len(starts)) < parameters.bundled]
    members = order[starts[:, None] + np.arange(size)]
    bundle = np.full(len(genre), -1, dtype=np.int64)
    bundle[members] = np.arange(len(members))[:, None]
    return bundle, members


def _attributes(genre: np.ndarray, kind: np.ndarray, works: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Price, stock, provider, region of sale and age rating: synthetic, also for real works."""
    random = generator(seed, "world", "attributes")
    count = len(genre)
    age = np.clip(1 + 2 * (random.random(count) + random.random(count)), 0, 4).astype(np.int64)
    age = np.where(np.isin(genre, _indices("children", "animation")), age // 3, age)
    age = np.where(np.isin(genre, _indices("horror", "thriller", "crime", "war")), np.maximum(age, 3), age)
    # Providers specialise: most works of a genre come from one house.
    house = np.where(random.random(count) < 0.7, genre, random.integers(0, len(GENRES), count)) % len(words.BOOK_PROVIDERS)
    provider = house + kind * len(words.BOOK_PROVIDERS)
    recent = (works["year"].to_numpy() - 1900).clip(0) / 125
    cents = np.round(400 + 900 * recent + 1400 * random.random(count)).astype(np.int64) // 10 * 10 + 9
    stock = np.where(random.random(count) < 0.05, 0, 1 + 120 * random.random(count) ** 2).astype(np.int64)
    return pl.DataFrame(
        {
            "price": cents / 100,
            "stock": stock,
            "provider": words.chosen(words.BOOK_PROVIDERS + words.FILM_PROVIDERS, provider),
            "region": words.chosen(words.REGIONS, random.integers(0, len(words.REGIONS), count)),
            "age_rating": words.chosen(words.AGE_RATINGS, age),
        }
    )


def _indices(*genres: str) -> list[int]:
    return [GENRES.index(genre) for genre in genres]
