"""One Parquet file of events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from recsmith.data.dataset import Dataset
from recsmith.data.readers import tables
from recsmith.data.readers.delimited import dataset_of


class ParquetReader:
    """Any table of events; types are the file's."""

    form = "Parquet file (.parquet, .pq)"

    def matches(self, path: Path) -> bool:
        return path.is_file() and tables.ending(path) in tables.PARQUET

    def read(self, path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
        return dataset_of(path, tables.read_parquet(path), columns=columns, reader="parquet", text=False)
