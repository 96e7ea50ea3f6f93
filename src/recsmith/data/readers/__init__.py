"""Readers: one file per form of raw data. A stranger's reader joins through the entry-point group `recsmith.readers`.

A reader is a class with a constructor without arguments that satisfies `Reader`. `detect` asks all of them in order of declaration
(special forms before general ones) and takes the first that matches.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from recsmith.errors import DataError
from recsmith.registry import Registry

if TYPE_CHECKING:
    from recsmith.data.dataset import Dataset

__all__ = ["READERS", "Reader", "detect", "reader_named"]


@runtime_checkable
class Reader(Protocol):
    """Raw data of one form → `Dataset`."""

    form: str
    """What it reads, in a few words, for people: "MovieLens folder (100k, 1M or CSV)"."""

    def matches(self, path: Path) -> bool:
        """Whether this file or folder has the reader's form; looks at names and at most the first lines, and never raises."""
        ...

    def read(self, path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
        """All tables; `columns` maps roles to columns of the log. Raises `DataError` naming file, row and column."""
        ...


READERS = Registry(
    "reader",
    {
        "prepared": "recsmith.data.readers.prepared:PreparedReader",
        "movielens": "recsmith.data.readers.movielens:MovieLensReader",
        "s3rec": "recsmith.data.readers.s3rec:S3RecReader",
        "recbole": "recsmith.data.readers.recbole:RecBoleReader",
        "amazon": "recsmith.data.readers.amazon:AmazonReader",
        "lastfm": "recsmith.data.readers.lastfm:LastFmReader",
        "yoochoose": "recsmith.data.readers.yoochoose:YoochooseReader",
        "tafeng": "recsmith.data.readers.tafeng:TaFengReader",
        "folder": "recsmith.data.readers.folder:FolderReader",
        "csv": "recsmith.data.readers.delimited:DelimitedReader",
        "parquet": "recsmith.data.readers.parquet:ParquetReader",
        "jsonl": "recsmith.data.readers.jsonl:JsonLinesReader",
    },
)
"""Name → reader class; names are what `Dataset.from_path(reader=…)` takes."""


def reader_named(name: str) -> Reader:
    """An instance of the reader `name`; raises `UserError` with a suggestion when there is none."""
    return READERS.get(name)()


def detect(path: Path) -> str:
    """Name of the reader for this file or folder. Raises `DataError` listing the known forms when there is none."""
    for name in READERS:
        if reader_named(name).matches(path):
            return name
    forms = "; ".join(reader_named(name).form for name in READERS)
    found = ", ".join(sorted(f"`{file.name}`" for file in path.iterdir())[:8]) if path.is_dir() else f"file type `{path.suffix}`"
    raise DataError(f"`{path}` has no form that is known ({found or 'empty folder'}); known: {forms}")
