"""MovieLens folders as GroupLens publishes them: 100k (`u.data`), 1M and 10M (`ratings.dat`), and the CSV releases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsmith.data.catalogue import Catalogue
from recsmith.data.columns import canonical_interactions, untext
from recsmith.data.dataset import Dataset
from recsmith.data.readers import tables
from recsmith.errors import UserError

_NO_GENRE = "(no genres listed)"
_100K_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Film-Noir",
    "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_RATINGS = ["user_id", "item_id", "rating", "timestamp"]
_KINDS = {"title": "text", "genres": "list", "tags": "list", "year": "number"}


class MovieLensReader:
    """Ratings with times; titles, genres and year of the films; tags people gave; what is known about the users (100k, 1M)."""

    form = "MovieLens folder (100k, 1M, 10M or CSV)"

    def matches(self, path: Path) -> bool:
        if not path.is_dir():
            return False
        csv = tables.find(path, "ratings.csv") and tables.find(path, "movies.csv")
        return bool(csv or tables.find(path, "u.data") or tables.find(path, "ratings.dat"))

    def read(self, path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
        if columns:
            raise UserError(f"`{path}` is a MovieLens folder, whose columns are known; leave `columns` out")
        ratings, movies, users = _tables(path)
        log, file = ratings
        result = canonical_interactions(log, None, where=f"`{file}`", text=True)
        source = {"reader": "movielens", "path": str(path), "columns": result.columns, "notes": result.notes}
        dataset = Dataset(result.frame, name=path.name, source=source)
        return dataset.with_tables(catalogue=movies and _catalogue(*movies, folder=path), users=users)


Table = tuple[pl.DataFrame, Path]


def _tables(path: Path) -> tuple[Table, Table | None, pl.DataFrame | None]:
    if file := tables.find(path, "u.data"):
        return (tables.read_delimited(file, separator="\t", names=_RATINGS), file), _items_100k(path), _users_100k(path)
    if file := tables.find(path, "ratings.dat"):
        return (_double_colon(file, _RATINGS), file), _movies_dat(path), _users_dat(path)
    file, movies = tables.find(path, "ratings.csv"), tables.find(path, "movies.csv")
    assert file is not None
    return (tables.read_delimited(file), file), (tables.read_delimited(movies), movies) if movies else None, None


def _items_100k(path: Path) -> Table | None:
    file = tables.find(path, "u.item")
    if file is None:
        return None
    names = ["movieId", "title", "release_date", "video_release_date", "url", *_100K_GENRES]
    raw = tables.read_delimited(file, separator="|", names=names, encoding="latin-1", quotes=False)
    flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _100K_GENRES]
    genres = pl.concat_list(flags).list.drop_nulls().list.join("|").alias("genres")
    return raw.select("movieId", "title", genres, "release_date"), file


def _users_100k(path: Path) -> pl.DataFrame | None:
    file = tables.find(path, "u.user")
    if file is None:
        return None
    raw = tables.read_delimited(file, separator="|", names=["user_id", "age", "gender", "occupation", "zip_code"])
    return _typed_users(raw, "age")


def _movies_dat(path: Path) -> Table | None:
    file = tables.find(path, "movies.dat")
    return (_double_colon(file, ["movieId", "title", "genres"]), file) if file else None


def _users_dat(path: Path) -> pl.DataFrame | None:
    file = tables.find(path, "users.dat")
    if file is None:
        return None
    return _typed_users(_double_colon(file, ["user_id", "gender", "age", "occupation", "zip_code"]), "age", "occupation")


def _typed_users(raw: pl.DataFrame, *numbers: str) -> pl.DataFrame:
    return raw.with_columns(pl.col("user_id").cast(pl.Int64), *(untext(raw[name]) for name in numbers))


def _double_colon(file: Path, names: list[str]) -> pl.DataFrame:
    """`a::b::c` lines in Latin-1 or UTF-8; a title may hold a single colon."""
    with tables.open_binary(file) as stream, tables.broken(file):
        content = stream.read()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines = pl.Series("line", text.splitlines(), dtype=pl.String)
    parts = lines.filter(lines != "").str.split_exact("::", len(names) - 1)
    return parts.struct.rename_fields(names).struct.unnest()


def _catalogue(raw: pl.DataFrame, file: Path, *, folder: Path) -> Catalogue:
    """Title without the year, year, genres, and the most frequent tags of each film."""
    title = pl.col("title").str.strip_chars()
    year = title.str.extract(r"\((\d{4})\)\s*$").cast(pl.Int64).alias("year")
    genres = pl.col("genres").fill_null("").str.split("|").list.filter(~pl.element().is_in(["", _NO_GENRE])).alias("genres")
    plain = title.str.replace(r"\s*\(\d{4}\)\s*$", "").alias("title")
    extra = [name for name in raw.columns if name not in ("movieId", "title", "genres")]
    frame = raw.select("movieId", plain, genres, year, *extra)
    tags = _tags(folder)
    frame = frame if tags is None else frame.join(tags, on="movieId", how="left", maintain_order="left")
    kinds = {name: kind for name, kind in _KINDS.items() if name in frame.columns}
    return Catalogue.from_frame(frame, kinds=kinds, where=f"`{file}`", text=True)  # type: ignore[arg-type]


def _tags(folder: Path, *, limit: int = 10) -> pl.DataFrame | None:
    """`movieId` → up to `limit` tags, the most frequent first, then by the alphabet."""
    if file := tables.find(folder, "tags.csv"):
        raw = tables.read_delimited(file)
    elif file := tables.find(folder, "tags.dat"):
        raw = _double_colon(file, ["userId", "movieId", "tag", "timestamp"])
    else:
        return None
    if raw.is_empty():
        return None
    counted = raw.with_columns(pl.col("tag").str.to_lowercase()).group_by("movieId", "tag").len()
    ordered = counted.sort(["len", "tag"], descending=[True, False])
    return ordered.group_by("movieId", maintain_order=True).agg(pl.col("tag").head(limit).alias("tags"))
