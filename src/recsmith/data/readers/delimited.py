"""One delimited text file: CSV, TSV, `;` or `|`, with a header, gzipped or not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsmith.data.columns import canonical_interactions
from recsmith.data.dataset import Dataset
from recsmith.data.readers import tables


class DelimitedReader:
    """Any table of events; columns by mapping or by their usual names."""

    form = "CSV or TSV file (.csv, .tsv, .txt, .dat, also .gz)"

    def matches(self, path: Path) -> bool:
        return path.is_file() and tables.ending(path) in tables.DELIMITED

    def read(self, path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
        return dataset_of(path, tables.read_delimited(path), columns=columns, reader="csv", text=True)


def dataset_of(path: Path, raw: pl.DataFrame, *, columns: Mapping[str, str] | None, reader: str, text: bool) -> Dataset:
    """The log of one file as `Dataset`, its source recorded."""
    result = canonical_interactions(raw, columns, where=f"`{path}`", text=text)
    source = {"reader": reader, "path": str(path), "columns": result.columns, "notes": result.notes}
    return Dataset(result.frame, name=tables.stem(path), source=source)
