"""Small cover pictures of a few items, as data URIs: the catalogue's own, else drawn from title and genre."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsmith.background import Background
from recsmith.data import Catalogue
from recsmith.errors import DataError, MissingExtraError, import_extra

_SIZE = (80, 120)
"""Pixels of a drawn cover; the page shows it at half of that."""
_QUALITY = 60


@dataclass(frozen=True)
class Covers:
    """Pictures by item index, and where they come from."""

    by_item: dict[int, str] = field(default_factory=dict)
    """Data URI of each item that has a picture."""
    origin: str = "The catalogue has no titles or pictures, so there are no covers."


def covers(background: Background, items: Iterable[int]) -> Covers:
    """Pictures of these items. Without Pillow, or without a catalogue, there are none and `origin` says why."""
    wanted = sorted({int(item) for item in items if item >= 0})
    if background.catalogue is None or not wanted:
        return Covers()
    try:
        pillow = import_extra("PIL.Image", extra="images", purpose="covers in a report")
    except MissingExtraError as error:
        return Covers(origin=f"No covers: {error}.")
    column = next(iter(background.catalogue.columns_of("image")), None)
    if column is not None:
        return _own(background, background.catalogue, column, wanted, pillow)
    return _drawn(background, background.catalogue, wanted, pillow)


def _own(background: Background, catalogue: Catalogue, column: str, wanted: list[int], pillow: Any) -> Covers:
    paths = catalogue.rows(background.log.items.raw(np.array(wanted)))[column].to_list()
    found = {item: _small(pillow, Path(path)) for item, path in zip(wanted, paths, strict=True) if path and Path(path).is_file()}
    missing = len(wanted) - len(found)
    return Covers(found, "Covers are those of the catalogue." + (f" {missing:,} items shown here have none." if missing else ""))


def _drawn(background: Background, catalogue: Catalogue, wanted: list[int], pillow: Any) -> Covers:
    from recsmith.data.world import render_covers

    ids = background.log.items.raw(np.array(wanted))
    known = catalogue.rows(ids).filter(pl.Series([title is not None for title in catalogue.titles(ids).to_list()]))
    number = dict(zip(ids.to_list(), wanted, strict=True))
    if known.is_empty():
        return Covers()
    try:
        with tempfile.TemporaryDirectory() as folder:
            drawn = render_covers(Catalogue(known, dict(catalogue.kinds)), folder, size=_SIZE).frame
            pairs = zip(drawn["item_id"].to_list(), drawn["image"].to_list(), strict=True)
            found = {number[item]: _small(pillow, Path(path)) for item, path in pairs}
    except DataError as error:
        return Covers(origin=f"No covers: {error}.")
    return Covers(found, "The catalogue has no pictures; these covers are drawn from title and genre.")


def _small(pillow: Any, path: Path) -> str:
    with pillow.open(path) as picture:
        small = picture.convert("RGB")
        small.thumbnail(_SIZE)
        stream = io.BytesIO()
        small.save(stream, format="WEBP", quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
