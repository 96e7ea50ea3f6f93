"""The hand-written part of the catalogue: real books and films, described in the project's own words."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from io import BytesIO

import polars as pl

_SCHEMA = {
    "title": pl.String, "maker": pl.String, "year": pl.Int64, "kind": pl.String, "genres": pl.String,
    "series": pl.String, "volume": pl.Int64, "description": pl.String,
}  # fmt: skip


@cache
def real_works() -> pl.DataFrame:
    """All hand-written works, in the order of the file: title, maker (author or director), year, kind, genres (list, first = main),
    series and volume (null outside a series), description (one sentence)."""
    content = (files("recsmith.data.world") / "works.tsv").read_bytes()
    frame = pl.read_csv(BytesIO(content), separator="\t", schema=_SCHEMA, quote_char=None)
    return frame.with_columns(pl.col("genres").str.split(", "))
