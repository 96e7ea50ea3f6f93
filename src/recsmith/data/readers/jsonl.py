"""One file of events with a JSON object per line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from recsmith.data.dataset import Dataset
from recsmith.data.readers import tables
from recsmith.data.readers.delimited import dataset_of


class JsonLinesReader:
    """Any table of events; types are those of the JSON values."""

    form = "JSON lines file (.jsonl, .ndjson, also .gz)"

    def matches(self, path: Path) -> bool:
        return path.is_file() and tables.ending(path) in tables.JSON_LINES

    def read(self, path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
        return dataset_of(path, tables.read_json_lines(path), columns=columns, reader="jsonl", text=False)
