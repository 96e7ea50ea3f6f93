"""Sequence files in the form of S3-Rec: one line per user, `user item item …`, oldest first; items and attributes may stand beside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsmith.data.catalogue import Catalogue, Kind
from recsmith.data.columns import canonical_ids
from recsmith.data.dataset import Dataset
from recsmith.data.readers import tables
from recsmith.errors import DataError, UserError

_NAMES = ("sequences", "sequential_data")


class S3RecReader:
    """Order without times. `items.tsv` gives titles, `item2attributes.json` a list of attribute ids per item."""

    form = "S3-Rec sequences (`sequences.txt` or `sequential_data.txt`, also .gz, or their folder)"

    def matches(self, path: Path) -> bool:
        if path.is_dir():
            return _file(path) is not None
        return path.is_file() and tables.ending(path) == ".txt" and (tables.stem(path) in _NAMES)

    def read(self, path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
        if columns:
            raise UserError(f"`{path}` holds sequences, which have no columns; leave `columns` out")
        file = path if path.is_file() else _file(path)
        assert file is not None
        interactions = _events(file)
        source = {"reader": "s3rec", "path": str(path), "columns": {}, "notes": []}
        folder = file.parent
        name = folder.name if path.is_dir() else tables.stem(file)
        return Dataset(interactions, _catalogue(folder), name=name, source=source)


def _file(folder: Path) -> Path | None:
    return tables.find(folder, *(f"{name}.txt" for name in _NAMES))


def _events(file: Path) -> pl.DataFrame:
    with tables.open_binary(file) as stream, tables.broken(file):
        lines = pl.Series("line", stream.read().decode("utf-8").splitlines(), dtype=pl.String)
    words = lines.str.strip_chars().str.split(" ").list.filter(pl.element() != "")
    if words.list.len().max() in (None, 0):
        raise DataError(f"`{file}` is empty; each line must hold a user and that user's items")
    alone = (words.list.len() == 1).arg_true()
    if len(alone):
        raise DataError(f"`{file}`, row {alone[0] + 1}: user {words[alone[0]][0]!r} has no item; each line must be `user item item …`")
    rows = pl.DataFrame({"user_id": words.list.first(), "item_id": words.list.slice(1)})
    events = rows.filter(pl.col("user_id").is_not_null()).explode("item_id", empty_as_null=False)
    where = f"`{file}`"
    return pl.DataFrame([canonical_ids(events[name], name=name, where=where, text=True) for name in ("user_id", "item_id")])


def _catalogue(folder: Path) -> Catalogue | None:
    items, attributes = tables.find(folder, "items.tsv"), tables.find(folder, "item2attributes.json")
    frame: pl.DataFrame | None = tables.read_delimited(items) if items else None
    if attributes:
        table = _attributes(attributes)
        frame = table if frame is None else frame.join(table, on="item_id", how="left", maintain_order="left")
    if frame is None:
        return None
    usual: dict[str, Kind] = {"title": "text", "asin": "category", "textual_id": "category", "attributes": "list"}
    kinds = {name: kind for name, kind in usual.items() if name in frame.columns}
    return Catalogue.from_frame(frame, kinds=kinds, item="item_id", where=f"`{items or attributes}`", text=True)


def _attributes(file: Path) -> pl.DataFrame:
    with tables.open_binary(file) as stream:
        try:
            table = json.load(stream)
        except ValueError as error:
            raise DataError(f"`{file}` is not JSON ({error}); it must map each item to a list of attribute ids") from None
    return pl.DataFrame({"item_id": list(table), "attributes": list(table.values())}, schema_overrides={"item_id": pl.String})
