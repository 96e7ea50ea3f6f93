"""HetRec 2011 Last.fm: how often people played artists, their friends, and the tags they gave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsmith.data.catalogue import Catalogue
from recsmith.data.columns import canonical_interactions
from recsmith.data.dataset import Dataset
from recsmith.data.readers import tables
from recsmith.errors import UserError


class LastFmReader:
    """`rating` is the number of plays; there are no times. Friends stand in `users`, names and frequent tags in the catalogue."""

    form = "HetRec Last.fm folder (`user_artists.dat`)"

    def matches(self, path: Path) -> bool:
        return path.is_dir() and tables.find(path, "user_artists.dat") is not None

    def read(self, path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
        if columns:
            raise UserError(f"`{path}` is a Last.fm folder, whose columns are known; leave `columns` out")
        file = tables.find(path, "user_artists.dat")
        assert file is not None
        mapping = {"user": "userID", "item": "artistID", "rating": "weight"}
        result = canonical_interactions(tables.read_delimited(file), mapping, where=f"`{file}`", text=True)
        notes = ["`rating` is the number of plays, not an opinion; min_rating counts plays"]
        source = {"reader": "lastfm", "path": str(path), "columns": result.columns, "notes": notes}
        dataset = Dataset(result.frame, name=path.name, source=source)
        return dataset.with_tables(catalogue=_catalogue(path), users=_friends(path))


def _catalogue(folder: Path) -> Catalogue | None:
    artists = tables.find(folder, "artists.dat")
    if artists is None:
        return None
    frame = tables.read_delimited(artists, separator="\t").select(pl.col("id"), pl.col("name").alias("title"))
    tags = _tags(folder)
    frame = frame if tags is None else frame.join(tags, on="id", how="left", maintain_order="left")
    return Catalogue.from_frame(frame, kinds={"title": "text"}, item="id", where=f"`{artists}`", text=True)


def _tags(folder: Path, *, limit: int = 10) -> pl.DataFrame | None:
    """`id` of the artist → up to `limit` tags, the most frequent first."""
    given, names = tables.find(folder, "user_taggedartists.dat"), tables.find(folder, "tags.dat")
    if given is None or names is None:
        return None
    words = tables.read_delimited(names, separator="\t", encoding="latin-1")
    counted = tables.read_delimited(given, separator="\t").group_by("artistID", "tagID").len().join(words, on="tagID")
    ordered = counted.sort(["len", "tagValue"], descending=[True, False])
    return ordered.group_by(pl.col("artistID").alias("id"), maintain_order=True).agg(pl.col("tagValue").head(limit).alias("tags"))


def _friends(folder: Path) -> pl.DataFrame | None:
    file = tables.find(folder, "user_friends.dat")
    if file is None:
        return None
    pairs = tables.read_delimited(file, separator="\t").cast(pl.Int64)
    return pairs.group_by(pl.col("userID").alias("user_id"), maintain_order=True).agg(pl.col("friendID").alias("friends"))
