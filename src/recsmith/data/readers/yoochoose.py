"""RecSys Challenge 2015 (YooChoose) clicks: the original file, and the slices cut for session benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsmith.data.columns import canonical_interactions
from recsmith.data.dataset import Dataset
from recsmith.data.readers import tables
from recsmith.errors import UserError

_ORIGINAL = "yoochoose-clicks.dat"
_PARTS = ("train_full", "test")


class YoochooseReader:
    """Every session counts as one user. From a sliced folder, `part` says whether an event is of the published train or test slice."""

    form = "YooChoose clicks (`yoochoose-clicks.dat`, or a folder of `…_train_full.txt` and `…_test.txt`)"

    def matches(self, path: Path) -> bool:
        return bool(_files(path))

    def read(self, path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
        if columns:
            raise UserError(f"`{path}` holds YooChoose clicks, whose columns are known; leave `columns` out")
        files = _files(path)
        raw = pl.concat([_read(file, part) for part, file in files.items()], how="diagonal")
        result = canonical_interactions(raw, None, where=f"`{next(iter(files.values()))}`", text=True)
        source = {"reader": "yoochoose", "path": str(path), "columns": result.columns, "notes": result.notes}
        return Dataset(result.frame, name=path.name if path.is_dir() else tables.stem(path), source=source)


def _files(path: Path) -> dict[str, Path]:
    """Part → file."""
    if path.is_file():
        return {"all": path} if path.name.lower().removesuffix(".gz") == _ORIGINAL else {}
    if not path.is_dir():
        return {}
    if original := tables.find(path, _ORIGINAL):
        return {"all": original}
    found = {}
    for part in _PARTS:
        fitting = [
            file for file in sorted(path.iterdir()) if tables.stem(file).startswith("yoochoose") and tables.stem(file).endswith(part)
        ]
        if fitting:
            found[part] = fitting[0]
    return found


def _read(file: Path, part: str) -> pl.DataFrame:
    if part == "all":
        return tables.read_delimited(file, separator=",", names=["session_id", "timestamp", "item_id", "category"])
    return tables.read_delimited(file, separator="\t").with_columns(pl.lit(part).alias("part"))
