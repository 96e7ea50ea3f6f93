"""Ta-Feng grocery baskets as JSON: `{user: [[item, …], …]}`, or the same under `train`, `validate` and `test`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsmith.data.columns import canonical_ids
from recsmith.data.dataset import Dataset
from recsmith.data.readers import tables
from recsmith.errors import DataError, UserError

_PARTS = ("train", "validate", "test")


class TaFengReader:
    """Order without times; `basket_id` numbers each user's baskets from 0, `part` says to which part of a published cut a user belongs."""

    form = "Ta-Feng baskets (`*tafeng*.json`, also .gz, or their folder)"

    def matches(self, path: Path) -> bool:
        return _file(path) is not None

    def read(self, path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
        if columns:
            raise UserError(f"`{path}` holds baskets, which have no columns; leave `columns` out")
        file = _file(path)
        if file is None:
            raise DataError(f"`{path}` holds no baskets: no file like `tafeng.json`; name another reader")
        with tables.open_binary(file) as stream, tables.broken(file):
            content = stream.read()
        try:
            users = json.loads(content)
        except ValueError as error:
            raise DataError(f"`{file}` is not JSON ({error}); it must map each user to a list of baskets") from None
        cut = isinstance(users, dict) and set(users) <= set(_PARTS)
        parts = [_events(table, file, part) for part, table in users.items()] if cut else [_events(users, file, None)]
        interactions = pl.concat(parts)
        ids = [canonical_ids(interactions[name], name=name, where=f"`{file}`", text=True) for name in ("user_id", "item_id")]
        source = {"reader": "tafeng", "path": str(path), "columns": {}, "notes": []}
        return Dataset(interactions.with_columns(ids), name=path.name if path.is_dir() else tables.stem(file), source=source)


def _file(path: Path) -> Path | None:
    """The file with the published cut comes first."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return next((file for file in files if file.is_file() and tables.ending(file) == ".json" and "tafeng" in tables.stem(file)), None)


def _events(users: Any, file: Path, part: str | None) -> pl.DataFrame:
    if not isinstance(users, dict) or not all(isinstance(baskets, list) for baskets in users.values()):
        raise DataError(f"`{file}` must map each user to a list of baskets, each a list of items")
    counts = [len(baskets) for baskets in users.values()]
    frame = pl.DataFrame(
        {
            "user_id": pl.Series(list(users), dtype=pl.String).gather(np.repeat(np.arange(len(counts)), counts)),
            "item_id": pl.Series([basket for baskets in users.values() for basket in baskets], dtype=pl.List(pl.Int64)),
            "basket_id": pl.Series([number for count in counts for number in range(count)], dtype=pl.Int64),
        }
    )
    events = frame.explode("item_id", empty_as_null=False)
    return events if part is None else events.with_columns(pl.lit(part).alias("part"))
