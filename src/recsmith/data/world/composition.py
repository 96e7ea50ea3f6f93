"""Works beyond the hand-written ones: unique titles, genre-true descriptions and invented makers, composed from word lists."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsmith.data.world import words
from recsmith.data.world.parameters import GENRES, KINDS, WorldParameters
from recsmith.data.world.words import chosen
from recsmith.seeding import generator

_NOUNS = np.array([words.NOUNS[genre].split() for genre in GENRES])
_DEEDS = np.array([words.DEEDS[genre] for genre in GENRES])
_SIZES = (len(words.PLACES), len(words.ADJECTIVES), _NOUNS.shape[1], 3)
"""Places, adjectives, nouns of a genre, patterns: their product is the number of titles of a genre."""
_VOLUMES = ("", ", Part Two", ", Part Three", ", Part Four")


def compose_works(count: int, parameters: WorldParameters, seed: int) -> pl.DataFrame:
    """`count` works with the columns of `real_works`, no two titles or descriptions alike."""
    random = generator(seed, "world", "composition")
    first, volume = _series_of(random.random(count) < parameters.series_share)
    genre = random.integers(0, len(GENRES), count)[first]
    other = (genre + random.integers(1, len(GENRES), count)) % len(GENRES)
    kind = random.integers(0, len(KINDS), count)[first]
    # Recent years are more common, as in any shop.
    year = (2024 - 110 * random.random(count) ** 2.2).astype(np.int64)[first]
    maker = random.integers(0, len(words.GIVEN_NAMES) * len(words.SURNAMES), count)[first]
    place, adjective, noun, pattern = _title_words(genre, first, seed)
    parts = pl.DataFrame(
        {
            "place": chosen(words.PLACES, place),
            "adjective": chosen(words.ADJECTIVES, adjective),
            "noun": chosen(_NOUNS.reshape(-1), genre * _NOUNS.shape[1] + noun),
            "part": chosen(_VOLUMES, volume - 1),
            "tone": chosen(words.TONES, random.integers(0, len(words.TONES), count)),
            "deed": chosen(_DEEDS.reshape(-1), genre * _DEEDS.shape[1] + random.integers(0, _DEEDS.shape[1], count)),
            "given": chosen(words.GIVEN_NAMES, maker % len(words.GIVEN_NAMES)),
            "surname": chosen(words.SURNAMES, maker // len(words.GIVEN_NAMES)),
            "genre": chosen(GENRES, genre),
            "other": chosen(GENRES, other),
            "kind": chosen(KINDS, kind),
            "year": np.minimum(year + 2 * (volume - 1), 2024),
            "volume": volume,
            "second_genre": random.random(count) < 0.6,
            "pattern": pattern,
            "has_series": _has_series(first),
        }
    )
    return parts.select((_first_title() + pl.col("part")).alias("title"), *_plain_columns(), _description())


def _series_of(continues: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each work the position of the first volume of its series (itself outside a series) and its volume, from 1."""
    positions = np.arange(len(continues))
    continues = continues.copy()
    continues[:1] = False
    run_start = np.maximum.accumulate(np.where(continues, 0, positions))
    volume = (positions - run_start) % len(_VOLUMES) + 1
    return positions - volume + 1, volume


def _has_series(first: np.ndarray) -> np.ndarray:
    sizes = np.bincount(first, minlength=len(first))
    return sizes[first] > 1


def _title_words(genre: np.ndarray, first: np.ndarray, seed: int) -> tuple[np.ndarray, ...]:
    """A different combination of words for each series within its genre: the n-th series takes the n-th of a permuted numbering."""
    capacity = int(np.prod(_SIZES))
    starts = np.flatnonzero(first == np.arange(len(first)))
    order = np.argsort(genre[starts], kind="stable")
    counts = np.bincount(genre[starts], minlength=len(GENRES))
    rank = np.arange(len(starts)) - np.repeat(np.cumsum(counts) - counts, counts)
    number = np.zeros(len(first), dtype=np.int64)
    # 104,729 is a prime that divides no list size, so that multiplying by it permutes the combinations.
    number[starts[order]] = (rank * 104_729 + genre[starts[order]] * 50_021 + seed) % capacity
    remaining = number[first]
    digits = []
    for size in _SIZES:
        remaining, digit = np.divmod(remaining, size)
        digits.append(digit)
    return tuple(digits)


def _by_pattern(choices: list[pl.Expr]) -> pl.Expr:
    return pl.when(pl.col("pattern") == 0).then(choices[0]).when(pl.col("pattern") == 1).then(choices[1]).otherwise(choices[2])


def _first_title() -> pl.Expr:
    """The title without the part: what all volumes of a series share."""
    adjective = pl.col("adjective").str.slice(0, 1).str.to_uppercase() + pl.col("adjective").str.slice(1)
    patterns = [
        pl.format("The {} {} of {}", adjective, "noun", "place"),
        pl.format("{} and the {} {}", "place", adjective, "noun"),
        pl.format("A {} for {} {}", "noun", adjective, "place"),
    ]
    return _by_pattern(patterns)


def _plain_columns() -> list[pl.Expr]:
    genres = pl.when("second_genre").then(pl.concat_list("genre", "other")).otherwise(pl.concat_list("genre"))
    return [
        pl.format("{} {}", "given", "surname").alias("maker"),
        pl.col("year").cast(pl.Int64),
        pl.col("kind"),
        genres.alias("genres"),
        pl.when("has_series").then(_first_title()).alias("series"),
        pl.when("has_series").then(pl.col("volume")).cast(pl.Int64).alias("volume"),
    ]


def _description() -> pl.Expr:
    noun = pl.col("noun").str.to_lowercase()
    # The opening differs by pattern and volume, and the rest names the words of the title: no two descriptions meet.
    opening = _by_pattern(
        [
            pl.format("In {}, the {} {} is at stake", "place", "adjective", noun),
            pl.format("{} wakes to the {} {}", "place", "adjective", noun),
            pl.format("All of {} talks of one {} {}", "place", "adjective", noun),
        ]
    )
    again = pl.when(pl.col("volume") > 1).then(pl.col("part").str.slice(2) + pl.lit(" of the story. ")).otherwise(pl.lit(""))
    return pl.concat_str(again, opening, pl.format(": a {} {} in which {}.", "tone", "kind", "deed")).alias("description")
