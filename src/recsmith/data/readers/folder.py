"""A folder of anybody's tables: `interactions.*` (or `events.*`, `log.*`, …) with `items.*`, `users.*` and `reviews.*` beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsmith.data.catalogue import Catalogue
from recsmith.data.columns import canonical_ids, canonical_interactions, find_columns, roles_of
from recsmith.data.dataset import Dataset
from recsmith.data.readers import tables

LOGS = ("interactions", "events", "log", "logs", "ratings", "clicks", "transactions", "purchases", "sessions")
ITEMS = ("items", "item", "catalogue", "catalog", "products", "movies", "articles", "books")
USERS = ("users", "user", "customers")
REVIEWS = ("reviews",)


class FolderReader:
    """Each table is CSV, TSV, Parquet or JSON lines; `columns` maps the log, and its `item` and `user` the other tables too."""

    form = "folder with `interactions.*` (or events, log, ratings, …) and optionally `items.*`, `users.*`, `reviews.*`"

    def matches(self, path: Path) -> bool:
        return path.is_dir() and _table(path, LOGS) is not None

    def read(self, path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
        log = _table(path, LOGS)
        assert log is not None
        raw, text = tables.read_table(log)
        result = canonical_interactions(raw, columns, where=f"`{log}`", text=text)
        source = {"reader": "folder", "path": str(path), "columns": result.columns, "notes": result.notes}
        dataset = Dataset(result.frame, name=path.name, source=source)
        items, users, reviews = (_table(path, names) for names in (ITEMS, USERS, REVIEWS))
        return dataset.with_tables(
            catalogue=items and _catalogue(items, columns),
            users=users and _users(users, columns),
            reviews=reviews and _reviews(reviews, columns),
        )


def _table(folder: Path, names: tuple[str, ...]) -> Path | None:
    by_stem = {tables.stem(file): file for file in sorted(folder.iterdir()) if tables.is_table(file)}
    return next((by_stem[name] for name in names if name in by_stem), None)


def _catalogue(file: Path, columns: Mapping[str, str] | None) -> Catalogue:
    frame, text = tables.read_table(file)
    mapped = roles_of(columns).get("item")
    return Catalogue.from_frame(frame, item=mapped if mapped in frame.columns else None, where=f"`{file}`", text=text)


def _users(file: Path, columns: Mapping[str, str] | None) -> pl.DataFrame:
    frame, text = tables.read_table(file)
    mapped = roles_of(columns).get("user")
    column = mapped if mapped in frame.columns else next((name for name in ("user_id", "id") if name in frame.columns), frame.columns[0])
    ids = canonical_ids(frame[column], name="user_id", where=f"`{file}`", text=text, column=column)
    return pl.DataFrame([ids, *(frame[name] for name in frame.columns if name not in (column, "user_id"))])


def _reviews(file: Path, columns: Mapping[str, str] | None) -> pl.DataFrame:
    frame, text = tables.read_table(file)
    known = {role: column for role, column in roles_of(columns).items() if column in frame.columns}
    roles = find_columns(frame.columns, known, where=f"`{file}`")
    ids = [
        canonical_ids(frame[roles[role]], name=name, where=f"`{file}`", text=text, column=roles[role])
        for role, name in (("user", "user_id"), ("item", "item_id"))
    ]
    rest = [frame[name] for name in frame.columns if name not in (roles["user"], roles["item"], "user_id", "item_id")]
    return pl.DataFrame([*ids, *rest])
