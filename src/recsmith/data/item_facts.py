"""`ItemFacts`: what a catalogue says of every item beside its words: categories, and where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from recsmith.data.catalogue import Catalogue
from recsmith.data.vocabulary import Vocabulary

Place = tuple[float, float]
"""Latitude and longitude, in degrees."""

_LATITUDE = ("latitude", "lat")
_LONGITUDE = ("longitude", "lon", "lng", "long")


@dataclass(frozen=True)
class ItemFacts:
    """One entry per item in each list."""

    categories: Sequence[Sequence[str]]
    """Categories of each item, the widest first where the catalogue has several columns; empty where it names none."""
    places: Sequence[Place | None]
    """Where each item is; None where that is not known."""

    @classmethod
    def of(cls, catalogue: Catalogue | None, items: Vocabulary) -> ItemFacts:
        """The facts of these items. Categories are those of the list column, behind those of category columns that describe items."""
        if catalogue is None:
            return cls([()] * len(items), [None] * len(items))
        rows = catalogue.rows(items.ids)
        return cls(_categories(catalogue, rows), _places(rows))


def _categories(catalogue: Catalogue, rows: pl.DataFrame) -> list[list[str]]:
    lists = [name for name in catalogue.columns_of("list") if rows.schema[name] == pl.List(pl.String)][:1]
    described = catalogue.default_template() if catalogue.columns_of("text", "list", "category") else ""
    columns = [name for name in catalogue.columns_of("category") if name != catalogue.title_column and f"{{{name}}}" in described]
    found: list[list[str]] = [[] for _ in range(len(rows))]
    for name in [*columns, *lists]:
        for row, value in zip(found, rows[name].to_list(), strict=True):
            row += [str(one) for one in (value if isinstance(value, list) else [value]) if one]
    return [list(dict.fromkeys(row)) for row in found]


def _places(rows: pl.DataFrame) -> list[Place | None]:
    by_key = {name.lower(): name for name in rows.columns if rows.schema[name].is_numeric()}
    latitude = next((by_key[name] for name in _LATITUDE if name in by_key), None)
    longitude = next((by_key[name] for name in _LONGITUDE if name in by_key), None)
    if latitude is None or longitude is None:
        return [None] * len(rows)
    pairs = zip(rows[latitude].cast(pl.Float64).to_list(), rows[longitude].cast(pl.Float64).to_list(), strict=True)
    return [(north, east) if north is not None and east is not None else None for north, east in pairs]
