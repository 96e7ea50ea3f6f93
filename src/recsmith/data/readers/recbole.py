"""RecBole's atomic files: tab-separated with typed headers (`user_id:token`, `genres:token_seq`), one file per table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsmith.data.catalogue import Catalogue, Kind
from recsmith.data.columns import canonical_interactions, integers_where_lossless
from recsmith.data.dataset import Dataset
from recsmith.data.readers import tables
from recsmith.data.validation import require_converted
from recsmith.errors import DataError, suggestion

_TYPES = ("token", "token_seq", "float", "float_seq")
_PARTS = ("train", "valid", "test")


class RecBoleReader:
    """`.inter` with `.item` and `.user` beside it. Files of one data set cut in parts (`x.train.inter`, …) are joined in that order."""

    form = "RecBole atomic files (`.inter` or its folder)"

    def matches(self, path: Path) -> bool:
        if path.is_dir():
            return bool(_interaction_files(path))
        return path.is_file() and tables.ending(path) == ".inter"

    def read(self, path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
        files = [path] if path.is_file() else _interaction_files(path)
        name = _data_set_name(files, path)
        raw = pl.concat([read_atomic(file) for file in files], how="diagonal_relaxed")
        result = canonical_interactions(raw, columns, where=f"`{files[0]}`")
        source = {"reader": "recbole", "path": str(path), "columns": result.columns, "notes": result.notes}
        folder = files[0].parent
        items, users = tables.find(folder, f"{name}.item"), tables.find(folder, f"{name}.user")
        user_table = read_atomic(users).rename({result.columns["user_id"]: "user_id"}, strict=False) if users else None
        dataset = Dataset(result.frame, name=name, source=source)
        return dataset.with_tables(catalogue=items and _catalogue(items, result.columns["item_id"]), users=user_table)


def read_atomic(file: Path) -> pl.DataFrame:
    """One atomic file with typed columns: tokens are Int64 or String, sequences are lists. Raises `DataError` for other headers."""
    raw = tables.read_delimited(file, separator="\t")
    return pl.DataFrame([_typed(raw[column], file) for column in raw.columns])


def _typed(series: pl.Series, file: Path) -> pl.Series:
    name, colon, kind = series.name.rpartition(":")
    if not colon or kind not in _TYPES:
        given = f"`{file}`, column `{series.name}`: the header must end in a type, as in `user_id:token`"
        raise DataError(f"{given}; {suggestion(kind, _TYPES)}")
    if kind == "token":
        return integers_where_lossless(series).rename(name)
    if kind == "float":
        numbers = series.cast(pl.Float64, strict=False)
        require_converted(series, numbers, expected="a number", where=f"`{file}`")
        return numbers.rename(name)
    words = series.str.split(" ").list.filter(pl.element() != "")
    return (words.cast(pl.List(pl.Float64)) if kind == "float_seq" else words).rename(name)


def _catalogue(file: Path, item: str) -> Catalogue:
    """A title written as a sequence of words is a text, not a list."""
    frame = read_atomic(file)
    titles = [name for name, dtype in frame.schema.items() if dtype == pl.List(pl.String) and name.endswith(("title", "name"))]
    frame = frame.with_columns(pl.col(name).list.join(" ") for name in titles)
    kinds: dict[str, Kind] = dict.fromkeys(titles, "text")
    column = item if item in frame.columns else None
    return Catalogue.from_frame(frame, kinds=kinds, item=column, where=f"`{file}`")


def _interaction_files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file() and tables.ending(file) == ".inter")
    whole = [file for file in files if _part(file) is None]
    return whole or sorted(files, key=lambda file: _PARTS.index(_part(file) or "test"))


def _part(file: Path) -> str | None:
    last = tables.stem(file).rpartition(".")[2]
    return last if last in _PARTS and "." in tables.stem(file) else None


def _data_set_name(files: list[Path], path: Path) -> str:
    names = {file.name.removesuffix(".gz").removesuffix(".inter") if _part(file) is None else file.name.split(".")[0] for file in files}
    if len(names) > 1:
        raise DataError(f"`{path}` holds several data sets ({', '.join(f'`{name}`' for name in sorted(names))}); give one .inter file")
    return names.pop()
