"""Files as tables, by their ending: delimited text, Parquet, JSON lines, each also gzipped where that is usual."""

from __future__ import annotations

import gzip
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import polars as pl

from recsmith.data.catalogue import Catalogue
from recsmith.errors import DataError

DELIMITED = (".csv", ".tsv", ".txt", ".dat", ".tab")
PARQUET = (".parquet", ".pq")
JSON_LINES = (".jsonl", ".ndjson")
_SEPARATORS = ("\t", ",", ";", "|")


def ending(path: Path) -> str:
    """The file's type: its last suffix in lower case, `.gz` not counted."""
    name = path.name.lower().removesuffix(".gz")
    return "." + name.rpartition(".")[2] if "." in name else ""


def stem(path: Path) -> str:
    """The file's name without `.gz` and type, in lower case."""
    name = path.name.lower().removesuffix(".gz")
    return name.rpartition(".")[0] or name


def find(folder: Path, *names: str) -> Path | None:
    """The first of these files that the folder holds, plain or with `.gz`."""
    return next((folder / (name + end) for name in names for end in ("", ".gz") if (folder / (name + end)).is_file()), None)


def is_table(path: Path) -> bool:
    """Whether `read_table` knows the file's type."""
    return path.is_file() and ending(path) in (*DELIMITED, *PARQUET, *JSON_LINES)


def read_table(path: Path) -> tuple[pl.DataFrame, bool]:
    """The table of a file, and whether all its columns are text. Raises `DataError` for other types and broken content."""
    kind = ending(path)
    if kind in DELIMITED:
        return read_delimited(path), True
    if kind in PARQUET:
        return read_parquet(path), False
    if kind in JSON_LINES:
        return read_json_lines(path), False
    known = ", ".join((*DELIMITED, *PARQUET, *JSON_LINES))
    raise DataError(f"`{path}` has file type `{kind}`, which is not known; known: {known} (text also with .gz)")


def read_catalogue(path: Path, *, item: str | None = None) -> Catalogue:
    """A table of items as `Catalogue`."""
    if not path.is_file():
        raise DataError(f"catalogue `{path}` does not exist; give the file of a table of items")
    frame, text = read_table(path)
    return Catalogue.from_frame(frame, item=item, where=f"`{path}`", text=text)


@contextmanager
def broken(path: Path) -> Iterator[None]:
    """Turns what Polars and gzip say about a broken file into `DataError`."""
    try:
        yield
    except pl.exceptions.NoDataError:
        raise DataError(f"`{path}` is empty; give a file with a header and at least one row") from None
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError) as error:
        reason = (str(error).strip().splitlines() or ["unreadable"])[0]
        raise DataError(f"`{path}` cannot be read as {ending(path).lstrip('.') or 'text'}: {reason}; correct the file") from None


def open_binary(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked when it is gzipped."""
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def first_line(path: Path) -> str:
    """The first line without its end; empty for an empty or unreadable file."""
    try:
        with open_binary(path) as file:
            return file.readline(1 << 16).decode("utf-8", errors="replace").rstrip("\r\n").removeprefix("\ufeff")
    except (OSError, EOFError):
        return ""


def read_delimited(
    path: Path, *, separator: str | None = None, names: list[str] | None = None, encoding: str = "utf-8", quotes: bool | None = None
) -> pl.DataFrame:
    """Delimited text, every column as text, empty fields as null.

    The separator is the one of tab, comma, `;` and `|` that the first line holds most. Without `names`, the first line is the header,
    unless all its fields are numbers: then the columns are `column_1`, `column_2`, … Tab-separated text has no quotes unless asked for.
    """
    head = first_line(path)
    if not head:
        raise DataError(f"`{path}` is empty; give a file with a header and at least one row")
    separator = separator or max(_SEPARATORS, key=head.count)
    fields = head.split(separator)
    header = names is None and not all(_is_number(part) for part in fields)
    if names is None and not header:
        names = [f"column_{number}" for number in range(1, len(fields) + 1)]
    quoted = separator != "\t" if quotes is None else quotes
    with broken(path):
        return pl.read_csv(
            _as_utf8(path, encoding),
            separator=separator,
            has_header=header,
            new_columns=names,
            infer_schema=False,
            quote_char='"' if quoted else None,
        )


def read_parquet(path: Path) -> pl.DataFrame:
    """One Parquet file."""
    with broken(path):
        return pl.read_parquet(path)


def read_json_lines(path: Path) -> pl.DataFrame:
    """One JSON object per line; types are inferred over all lines."""
    with open_binary(path) as file, broken(path):
        content = file.read()
    if not content.strip():
        raise DataError(f"`{path}` is empty; give a file with at least one line")
    try:
        return pl.read_ndjson(content, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise bad_line(path, content, error) from None


def bad_line(path: Path, content: bytes, error: Exception) -> DataError:
    """Names the first line that is not a JSON object."""
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as reason:
            return DataError(f"`{path}`, row {number}: not JSON ({reason}); correct or remove the line")
        if not isinstance(record, dict):
            return DataError(f"`{path}`, row {number}: {str(record)[:40]!r} is not a JSON object; each line must be one")
    return DataError(f"`{path}` cannot be read as JSON lines: {str(error).splitlines()[0]}; give each key one type")


def _as_utf8(path: Path, encoding: str) -> Path | bytes:
    if encoding == "utf-8":
        return path
    with open_binary(path) as file:
        return file.read().decode(encoding).encode("utf-8")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
